"""Similar pictures of a library: by id in a query, by a picture that is sent, on the command line."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from engine.tagger import Tagger
from engine.vectors.store import Features, Of, VectorStore, vectors_of
from service.embedded import Running, embedded
from service.errors import ServiceError
from service.libraries import ledger_of
from service.similar import Similar
from tests.support.pictures import encoded, smooth
from tests.support.runs import ENGINE, run


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """Twelve pictures, the last a recompressed copy of the first, tagged with their vectors kept."""
    folder = tmp_path_factory.mktemp("similar")
    (folder / "library").mkdir()
    for seed in range(11):
        Image.fromarray(smooth(seed=seed)).save(folder / "library" / f"{seed:02}.png")
    Image.fromarray(smooth(seed=0)).save(folder / "library" / "99.jpg", quality=80)
    arguments = ["--library", str(folder / "library"), "--model", str(tiny_model), "--db", str(folder / "l.db")]
    ended = run([*ENGINE, "run", *arguments, "--device", "cpu"])
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def running(library: Path, tiny_model: Path) -> Iterator[Running]:
    with (
        Tagger(tiny_model, device="cpu", threshold=0.001, features=True) as tagger,
        embedded(library / "library", db=library / "l.db", model=tiny_model, tagger=tagger, rescan=0) as service,
    ):
        yield service


def similar(running: Running, body: bytes, path: str = "/similar", **headers: str) -> httpx.Response:
    headers = headers or {"Authorization": f"Bearer {running.token}"}
    return httpx.post(running.url + path, content=body, headers=headers, timeout=60)


def test_a_picture_that_is_sent_gets_tags_and_neighbours_in_one_call(running: Running, library: Path) -> None:
    data = (library / "library" / "00.png").read_bytes()
    answer = similar(running, data).json()
    assert {tag["tag"] for tag in answer["tags"]} == {
        tag["tag"] for tag in similar(running, data, "/tag").json()["tags"]
    }
    [first, second, *others] = answer["similar"]
    assert (first["storageUrl"], first["copy"]) == ("00.png", True) and first["likeness"] > 0.999
    assert (second["storageUrl"], second["copy"]) == ("99.jpg", True)
    assert (answer["code"], answer["reason"]) == (None, None)
    assert len(others) == 10 and [o["likeness"] for o in others] == sorted(
        (o["likeness"] for o in others), reverse=True
    )
    assert similar(running, data, "/page/similar", Origin=running.url).json() == answer
    assert similar(running, data, "/page/similar", Origin="https://evil.example").status_code == 401
    assert similar(running, b"no picture").status_code == 422


def test_a_query_finds_them_beside_tags(running: Running) -> None:
    found = httpx.get(f"{running.url}/page/pictures", params={"q": "similar:1", "limit": 3}).json()
    assert [picture["path"] for picture in found["pictures"]][:2] == ["00.png", "99.jpg"]
    without = httpx.get(f"{running.url}/page/pictures", params={"q": "similar:1 -id:1"}).json()
    assert without["pictures"][0]["path"] == "99.jpg"
    unknown = httpx.get(f"{running.url}/page/pictures", params={"q": "similar:777"}).json()
    assert (unknown["total"], [one["code"] for one in unknown["mistakes"]]) == (0, ["nothing similar"])


def test_where_nothing_can_be_looked_for_the_answer_says_why(library: Path, tiny_model: Path, tmp_path: Path) -> None:
    data = (library / "library" / "00.png").read_bytes()
    folder = library / "library"
    with (
        Tagger(tiny_model, device="cpu", threshold=0.001, features=True) as tagger,
        embedded(folder, db=tmp_path / "other.db", model=tiny_model, tagger=tagger, rescan=0) as none_kept,
    ):
        answer = similar(none_kept, data).json()
    assert answer["tags"] and (answer["similar"], answer["code"]) == ([], "no vectors")
    assert "no vectors are kept for this library" in answer["reason"]
    with (
        Tagger(tiny_model, device="cpu", threshold=0.001) as tagger,
        embedded(folder, db=library / "l.db", model=tiny_model, tagger=tagger, rescan=0) as without,
    ):
        answer = similar(without, data).json()
    assert answer["tags"] and (answer["similar"], answer["code"]) == ([], "no features")


def test_vectors_of_another_model_are_not_compared_though_they_are_as_long(
    library: Path, tiny_model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    manifest = json.loads((other / "model.json").read_text(encoding="utf-8"))
    manifest["source"]["sha256"] = "f" * 64
    (other / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    with (
        Tagger(other, device="cpu", threshold=0.001, features=True) as tagger,
        embedded(library / "library", db=library / "l.db", model=other, tagger=tagger, rescan=0) as service,
    ):
        answer = similar(service, (library / "library" / "00.png").read_bytes()).json()
    assert answer["tags"] and (answer["similar"], answer["code"]) == ([], "other model")
    assert "the library's vectors are of the model" in answer["reason"]


def test_vectors_that_another_model_made_anew_are_taken_up(tmp_path: Path) -> None:
    """A retag with another model begins the file anew, while the service has it open."""
    of = [Of("one", "1" * 64, 64), Of("other", "2" * 64, 96)]
    rng = np.random.default_rng(0)

    def keep(one: Of) -> None:
        with closing(VectorStore(vectors_of(ledger_of(tmp_path / "l.db")), one, anew=True)) as store:
            store.put(Features(i, i << 20, rng.random(one.dimensions, np.float32)) for i in range(1, 30))

    with closing(Similar(tmp_path / "l.db")) as similar:
        assert not similar.kept()
        keep(of[0])
        assert len(similar.to(1)) == 28
        keep(of[1])
        assert len(similar.to(1)) == 28
        with pytest.raises(ServiceError, match="of the model other"):
            similar.like(rng.random(64, np.float32), 0, of[0].sha256)
        assert similar.like(rng.random(96, np.float32), 0, of[1].sha256)


def test_a_picture_that_vanished_is_not_found(
    running: Running, library: Path, tiny_model: Path, tmp_path: Path
) -> None:
    data = (library / "library" / "00.png").read_bytes()
    gone = library / "library" / "03.png"
    shutil.move(gone, tmp_path / "03.png")
    try:
        with embedded(library / "library", db=library / "l.db", rescan=0):
            pass  # scans
        assert "03.png" not in [one["storageUrl"] for one in similar(running, data).json()["similar"]]
        where = ["--library", str(library / "library"), "--db", str(library / "l.db"), "--model", str(tiny_model)]
        ended = run([*ENGINE, "similar", str(tmp_path / "03.png"), *where, "--json", "--limit", "11"])
        shown = [json.loads(line)["storageUrl"] for line in ended.stdout.splitlines()]
        assert len(shown) == 11 and "03.png" not in shown
    finally:
        shutil.move(tmp_path / "03.png", gone)
        with embedded(library / "library", db=library / "l.db", rescan=0):
            pass


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.png", "missing.png is no file: give a picture"),
        ("library", "library is no file: give a picture"),
        ("l.db", "l.db: "),
        ("broken.png", "broken.png: "),
    ],
)
def test_what_is_no_picture_is_one_sentence(library: Path, tiny_model: Path, name: str, said: str) -> None:
    (library / "broken.png").write_bytes((library / "library" / "00.png").read_bytes()[:200])
    where = ["--library", str(library / "library"), "--db", str(library / "l.db"), "--model", str(tiny_model)]
    ended = run([*ENGINE, "similar", str(library / name), *where])
    assert (ended.returncode, ended.stdout) == (1, "")
    assert said in ended.stderr and "bug" not in ended.stderr


def test_the_command_line_finds_them_too(library: Path, tiny_model: Path, tmp_path: Path) -> None:
    turned = np.ascontiguousarray(smooth(seed=4)[:, ::-1])
    (tmp_path / "x.png").write_bytes(encoded("PNG", Image.fromarray(turned)))
    where = ["--library", str(library / "library"), "--db", str(library / "l.db"), "--model", str(tiny_model)]
    ended = run([*ENGINE, "similar", str(library / "library" / "04.png"), *where, "--json", "--limit", "2"])
    assert ended.returncode == 0, ended.stderr
    [best, _] = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (best["id"], best["storageUrl"], best["copy"]) == (5, "04.png", True)
    ended = run([*ENGINE, "similar", str(tmp_path / "x.png"), *where])
    assert ended.returncode == 0 and len(ended.stdout.splitlines()) == 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--model is missing"),
        (("--model", "{model}", "--state", "nothing.db"), "there is no state file nothing.db"),
    ],
)
def test_what_is_missing_is_said(library: Path, tiny_model: Path, arguments, said: str) -> None:
    words = [word.format(model=tiny_model) for word in arguments]
    ended = run([*ENGINE, "similar", str(library / "library" / "04.png"), *words])
    assert ended.returncode == 1 and said in ended.stderr and "Traceback" not in ended.stderr
