"""The engine's client and delivery against the Java example, as its README runs it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.api.addresses import ApiConfig
from engine.api.answers import BadRecords, Rejection, TooLarge, Yes
from engine.api.client import MediaApi
from engine.api.messages import bulk_body, pairs, record_bodies, similarity
from engine.api.token import Token
from engine.delivery.chunks import Limits
from engine.delivery.loop import Delivery
from engine.errors import Unauthorized, WrongAddress
from engine.ledger.ledger import Ledger
from engine.types import Outcome, TagScore
from tests.support import ledgers

pytestmark = pytest.mark.full

EXAMPLE = Path(__file__).parents[3] / "examples" / "java" / "MediaService.java"
NAMES = ["a b/1.jpg", "a b/2.PNG", "z/ü ♥.webp", *(f"many/{i:04d}.jpg" for i in range(400))]


@contextmanager
def java_service(folder: Path, tags: Path) -> Iterator[str]:
    """The example on a free port; its address."""
    java = shutil.which("java")
    assert java, "the full tests need a JDK (17 or later)"
    environment = {**os.environ, "MEDIA_TOKEN": "secret", "LC_ALL": "C.UTF-8"}
    command = [java, "-Dfile.encoding=UTF-8", str(EXAMPLE), str(folder), "0", str(tags)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip()
            assert url.startswith("http://127.0.0.1:"), "the example did not start"
            yield url
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("pictures")
    for name in [*NAMES, "notes.txt"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    tags = tmp_path_factory.mktemp("state") / "tags.tsv"
    with java_service(folder, tags) as url:
        yield url, tags


@contextmanager
def client(url: str, *, bulk: bool = True, token: str = "secret", path: str = "") -> Iterator[MediaApi]:
    single = f"{url}/api/recognition"
    api = MediaApi(ApiConfig(f"{url}/api/segment", single, f"{single}/bulk{path}" if bulk else None), Token(token))
    try:
        yield api
    finally:
        api.close()


def stored(tags: Path) -> list[tuple[str, ...]]:
    return [tuple(line.split("\t")) for line in tags.read_text(encoding="utf-8").splitlines()]


def test_pages_cover_the_folder(service: tuple[str, Path]) -> None:
    with client(service[0]) as api:
        found, start = [], 0
        while page := api.segment(start, 100):
            assert len(page) <= 100
            found += page
            start = page[-1].id + 1
    assert [media.id for media in found] == list(range(1, len(NAMES) + 1))
    assert sorted(media.storage_url for media in found) == sorted(NAMES)


@pytest.mark.parametrize("bulk", [True, False], ids=["bulk", "single"])
def test_the_delivery_stores_every_record_once(service: tuple[str, Path], tmp_path: Path, bulk: bool) -> None:
    url, tags = service
    with client(url, bulk=bulk) as api, Ledger(tmp_path / "state.db") as ledger:
        media = [m for start in (1, 201, 401) for m in api.segment(start, 200)]
        # Tags of each mode's own, for the store is shared; a kaomoji, quotes and a backslash travel as they are.
        names = [f"{bulk} {name}" for name in ("1girl", ">_<", 'a "b" \\ c', "赤髪", "x" * 200)]
        items = [
            ledgers.tagged(m, *(TagScore(name, (500 + m.id) / 1000) for name in names))
            for m in media[: 403 if bulk else 40]
        ]
        ledger.admit(media)
        ledgers.store(ledger, items).result(30)
        delivery = Delivery(ledger, api, Limits(records=2000))  # above what the example takes: 413 is learned
        delivery.start()
        delivery.drain()
        assert delivery.join(60)
        assert delivery.error is None
        assert ledger.counts()[Outcome.DONE] == len(items)
        assert ledger.counts()[Outcome.OUTBOX] == 0
    expected = sorted((str(i.media.id), tag, similarity(score)) for i in items for tag, score in i.tags)
    assert sorted(row for row in stored(tags) if row[1].startswith(str(bulk))) == expected


def test_what_it_answers_is_what_the_contract_says(service: tuple[str, Path]) -> None:
    url, tags = service
    with client(url) as api:
        media = api.segment(1, 2)
        [one], [two] = (record_bodies(m, pairs([TagScore("answers", 0.700)])) for m in media)

        def post(body: bytes):
            return api.run(api.post(body, "0" * 64)).result(30)

        unknown = one.replace(b'"mediaId": 1', b'"mediaId": "999999"')
        wrong = two.replace(b"0.700", b"7e-1")
        assert post(bulk_body([one, unknown, wrong])) == Yes(
            (
                Rejection("999999", "answers", "no medium 999999"),
                Rejection("2", "answers", 'similarity is a text such as "0.987"'),
            )
        )
        assert post(bulk_body([one])) == Yes()  # again
        assert [row for row in stored(tags) if row[1] == "answers"] == [("1", "answers", "0.700")]
        assert isinstance(post(bulk_body([one] * 501)), TooLarge)
        assert isinstance(post(b"[" + b" " * 2**21 + b"]"), TooLarge)
        for broken in (b"", b"[", b"{}", b"[1]", b'[{"mediaId": 1}] x', b"[" * 5000, b'["\\ud800"]'):
            assert isinstance(post(broken), BadRecords)
    with client(url, token="wrong") as api, pytest.raises(Unauthorized):
        api.segment(1, 1)
    with client(url, path="k") as api, pytest.raises(WrongAddress):
        api.run(api.post(b"[]", "0" * 64)).result(30)


def test_it_remembers_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    tags = tmp_path / "tags.tsv"
    for _ in range(2):
        with java_service(tmp_path, tags) as url, client(url) as api:
            (media,) = api.segment(0, 9)
            body = bulk_body(record_bodies(media, pairs([TagScore("again", 0.900)])))
            assert api.run(api.post(body, "0" * 64)).result(30) == Yes()
    assert stored(tags) == [("1", "again", "0.900")]


def test_what_a_model_gives_takes_the_place_of_what_it_gave(tmp_path: Path) -> None:
    folder, tags = tmp_path / "pictures", tmp_path / "tags.tsv"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()

    def deliver(url: str, names: list[str], *, replace: bool) -> None:
        """Deliver the same tags of 30 media, in one way or the other."""
        single = f"{url}/api/recognition"
        config = ApiConfig(f"{url}/api/segment", single, f"{single}/bulk", f"{single}/replace" if replace else None)
        api = MediaApi(config, Token("secret"))
        with Ledger(tmp_path / "state.db") as ledger:
            ledger.name_model("first")
            media = api.segment(1, 30)
            ledger.admit(media)
            ledger.retry(media).result()
            result = [ledgers.tagged(m, *(TagScore(name, 0.9) for name in names)) for m in media]
            ledgers.store(ledger, result, replaces=replace).result()
            delivery = Delivery(ledger, api, Limits(records=900))  # more than the service takes at once
            delivery.start()
            delivery.drain()
            assert delivery.join(60) and delivery.error is None
            assert ledger.counts()[Outcome.DONE] == 30
        api.close()

    def kept() -> set[tuple[str, ...]]:
        """What the file says in the end."""
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for media_id, tag, *rest in stored(tags):
            found[media_id, tag] = (media_id, tag, *rest)
            if rest == [""]:
                del found[media_id, tag]
        return set(found.values())

    for _ in range(2):  # the service forgets nothing when it is started again
        with java_service(folder, tags) as url:
            deliver(url, ["ünnamed", "old"], replace=False)
            deliver(url, [f"tag {i}" for i in range(40)], replace=True)
            assert len(kept()) == 30 * 40
            deliver(url, ["hat", "tag 7"], replace=True)
            assert {row[1:] for row in kept()} == {("hat", "0.900", "first"), ("tag 7", "0.900", "first")}
            assert len(kept()) == 60
            deliver(url, [], replace=True)
            assert kept() == set()
