"""`engine tag`: which files it takes, in which order, and what of their names reaches the terminal."""

import json
import os
import random
import shutil
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convert.cli import main as convert
from demo.render import render
from demo.wd import write_wd
from engine.cli.printer import FRAME, Printer, Wanted
from engine.cli.tag import pictures
from engine.errors import ConfigError, Undecodable
from engine.output.metadata import packet_of
from engine.output.wording import spaced
from engine.output.xmp import keywords_of
from engine.pictures.frames import chosen, frame
from engine.types import Media, Outcome, Tagged, TagScore
from tests.support.pipelines import draw
from tests.support.runs import ENGINE, run

BAD = "\x1b[31m\x9b2J\x07\x7f\nTags of other.png:\udcff"


def test_a_folder_is_taken_in_natural_order(tmp_path: Path) -> None:
    names = ["a2.png", "p1.png", "p2.png", "p10.png", "p010b.png", "p²3.png", "x1/y10.png", "x2/y9.png", "x10/y1.png"]
    for number, name in enumerate(random.Random(1).sample(names, len(names))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        draw(tmp_path / name, number)
    assert [Path(found).relative_to(tmp_path).as_posix() for found in pictures([tmp_path])] == names
    named = [tmp_path / "p10.png", tmp_path / "p2.png"]
    assert list(pictures(named)) == [str(path) for path in named]  # who names files chose an order


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes in Windows' file systems")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ConfigError, match=r"pipe\.png is neither a file nor a folder"):
        list(pictures([tmp_path / "pipe.png"]))
    assert list(pictures([tmp_path])) == []


@pytest.mark.parametrize("as_json", [False, True])
def test_control_characters_of_names_do_not_reach_the_terminal(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    printer = Printer(Wanted(as_json=as_json), [BAD, BAD], lambda _: ())
    tags = (TagScore("1girl", 0.75), TagScore("é\x1b", 0.5))
    printer.store([Tagged(Media(0, BAD, 0), tags, None)], {})  # type: ignore[arg-type]
    printer.fail(Media(1, BAD, 1), Outcome.FAILED, "broken")
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert all(c.isprintable() or c == "\n" for c in text)
        assert "\nTags of other.png" not in text
    assert "é" in shown.out
    if as_json:
        first, second = map(json.loads, shown.out.splitlines())
        assert first == {"path": BAD, "tags": [{"tag": "1girl", "score": 0.75}, {"tag": "é\x1b", "score": 0.5}]}
        assert second == {"path": BAD, "error": "broken"}
    else:
        assert shown.out.splitlines()[1:] == ["(0.750) 1girl", "(0.500) é\\x1b", ""]


def test_patterns_and_folders_within_folders(tmp_path: Path) -> None:
    for name in ("a1.png", "a10.png", "a2.png", "b.png", "x/a3.png", "x/y/a4.png", "[1].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        draw(tmp_path / name, 0)
    (tmp_path / "a3.txt").write_text("a sidecar", encoding="utf-8")

    def found(name: str, recursive: bool = True) -> list[str]:
        return [Path(p).relative_to(tmp_path).as_posix() for p in pictures([tmp_path / name], recursive=recursive)]

    assert found("a*") == ["a1.png", "a2.png", "a10.png"]
    assert found("**/a?.png") == ["a1.png", "a2.png", "x/a3.png", "x/y/a4.png"]
    assert found("[1].png") == ["[1].png"]  # a file of this name is no pattern
    assert found("[ab].png") == ["b.png"]
    assert found("?") == ["x/a3.png", "x/y/a4.png"] and found("?", recursive=False) == ["x/a3.png"]
    assert found(".", recursive=False) == ["[1].png", "a1.png", "a2.png", "a10.png", "b.png"]
    for nothing in ("*.jpg", "a3.t*"):
        with pytest.raises(ConfigError, match="no picture matches"):
            found(nothing)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of the demo's WD tagger, and pictures beside it."""
    folder = tmp_path_factory.mktemp("tag")
    assert convert([str(write_wd(folder / "tagger")), str(folder / "model")]) == 0
    render(folder / "pictures", 6, seed=5, formats=["jpeg", "png", "webp"], size=(200, 220))
    return folder


def tag(demo: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return run([*ENGINE, "tag", "--model", str(demo / "model"), *map(str, words)])


def scores(demo: Path, *words: object) -> dict[str, dict[str, float]]:
    lines = [json.loads(line) for line in tag(demo, "--json", *words).stdout.splitlines()]
    return {line["path"]: {one["tag"]: one["score"] for one in line["tags"]} for line in lines}


def test_a_template_with_words_of_ones_own(demo: Path, tmp_path: Path) -> None:
    plain = scores(demo, demo / "pictures")
    path, tags = next((p, t) for p, t in plain.items() if "1girl" in t)
    best = sorted((tag for tag in tags if not tag.startswith("rating:")), key=lambda tag: -tags[tag])
    rating = next(tag for tag in tags if tag.startswith("rating:")).removeprefix("rating:")
    (tmp_path / "black.txt").write_text(f"{best[0]}\n", encoding="utf-8")
    (tmp_path / "other.csv").write_text("1girl,ein Mädchen\n", encoding="utf-8")
    words = ["--format", r"{stem}\t{rating}\t{tags:;}", "--no-underscores"]
    words += ["--blacklist", str(tmp_path / "black.txt"), "--replace", str(tmp_path / "other.csv")]
    ended = tag(demo, *words, path)
    wanted = ["ein Mädchen" if one == "1girl" else spaced(one) for one in best[1:]]
    assert ended.returncode == 0 and ended.stdout == f"{Path(path).stem}\t{rating}\t{';'.join(wanted)}\n"


def test_sidecars_and_keywords_are_written_when_asked_for(demo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(demo / "pictures", folder)
    files = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}
    plain = scores(demo, folder)
    assert {p for p in folder.rglob("*") if p.is_file()} == set(files)  # nothing unasked
    ended = tag(demo, "--sidecar", "txt", "--sidecar", "xmp", "--write-metadata", folder)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    assert ended.stderr.splitlines() == ["wrote 12 files beside pictures", "wrote keywords into 6 pictures"]
    for picture, (before, changed) in files.items():
        tags = plain[str(picture)]
        best = sorted((tag for tag in tags if not tag.startswith("rating:")), key=lambda tag: -tags[tag])
        assert picture.with_suffix(".txt").read_text(encoding="utf-8") == ", ".join(best) + "\n"
        assert keywords_of(picture.with_name(picture.name + ".xmp").read_bytes()) == best
        assert keywords_of(packet_of(picture.read_bytes()) or b"") == best
        assert picture.stat().st_mtime_ns == changed and picture.read_bytes() != before
    assert scores(demo, folder) == plain  # the pictures are the same to the model
    again = tag(demo, "--sidecar", "txt", "--format", "{rating}", folder)
    assert "kept 6 that were there already (--overwrite replaces them)" in again.stderr
    assert tag(demo, "--sidecar", "txt", "--format", "{rating}", "--overwrite", folder).returncode == 0
    assert {p.read_text(encoding="utf-8") for p in folder.rglob("*.txt")} <= {
        "safe\n", "questionable\n", "explicit\n"
    }  # fmt: skip


def test_what_cannot_be_written_is_a_failure_and_not_the_end(demo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    shutil.copytree(demo / "pictures", folder)
    with Image.open(next(folder.rglob("*.jpg"))) as image:
        image.save(folder / "b.gif")
    ended = tag(demo, "--write-metadata", folder)
    assert ended.returncode == 3 and "wrote keywords into 6 pictures" in ended.stderr
    assert "b.gif is left as it is: keywords are written into JPEG, PNG and WebP only, and this is GIF" in ended.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--format", "{nonsense}"], "--format has no field {nonsense}, only {path}"),
        (["--format", "{tags}", "--json"], "--format and --json both say what is printed"),
        (["--overwrite"], "--overwrite is for --sidecar and --write-metadata"),
        (["--blacklist", "nosuch.txt"], "the blacklist nosuch.txt cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], says: str, demo: Path) -> None:
    ended = tag(demo, *words, demo / "pictures")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert ended.stderr.startswith(f"error: {says}")


@pytest.mark.parametrize("kind", ["gif", *(pytest.param(kind, marks=pytest.mark.full) for kind in ("webp", "png"))])
def test_frames_count_by_the_best_score(kind: str, demo: Path, tmp_path: Path) -> None:
    """Each frame of the animation is a picture of the demo; over all of them a tag has its highest score."""
    singles = []
    for number, path in enumerate(sorted((demo / "pictures").rglob("*.*"))[:4]):
        with Image.open(path) as opened:
            singles.append(opened.convert("RGB").quantize(200) if kind == "gif" else opened.convert("RGB"))
        singles[-1].convert("RGB").save(tmp_path / f"{number}.png")
    (tmp_path / "moving").mkdir()
    moving = tmp_path / "moving" / f"a.{kind}"
    options: dict[str, Any] = {"lossless": True} if kind == "webp" else {}
    singles[0].save(moving, save_all=True, append_images=singles[1:], duration=50, **options)
    shutil.copy(tmp_path / "1.png", tmp_path / "moving" / "b.png")
    one, all_four = (scores(demo, "--threshold", "0.1,rating=0.1", "--frames", n, tmp_path / "moving") for n in (1, 4))
    apart = [scores(demo, "--threshold", "0.1,rating=0.1", p)[str(p)] for p in sorted(tmp_path.glob("*.png"))]
    assert list(one) == list(all_four) == [str(moving), str(moving.with_name("b.png"))]
    wanted: dict[str, float] = {}
    for tags in apart:
        wanted |= {tag: max(score, wanted.get(tag, 0)) for tag, score in tags.items()}
    assert one[str(moving)] == pytest.approx(apart[0], abs=1e-3)
    assert all_four[str(moving)] == pytest.approx(wanted, abs=1e-3) and len(wanted) > len(apart[0])
    assert one[str(moving.with_name("b.png"))] == all_four[str(moving.with_name("b.png"))]


def test_which_frames_stand_for_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)) for i in range(10)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    data = (tmp_path / "a.webp").read_bytes()
    assert chosen(data, 1) == [0] and chosen(data, 3) == [0, 3, 6] and chosen(data, 50) == list(range(10))
    assert chosen(data[:40], 3) == [0]
    assert frame(data, 0, max_pixels=64) == data
    assert Image.open(BytesIO(frame(data, 3, max_pixels=64))).convert("RGB").getpixel((4, 4)) == (60, 60, 60)
    with pytest.raises(Undecodable, match="8 x 8 pixels are more than the limit of 63"):
        frame(data, 3, max_pixels=63)
    with pytest.raises(Undecodable, match="frame 51 of the animation is broken"):
        frame(data, 50, max_pixels=64)


def test_each_frame_gives_its_place_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Also of one that failed; the picture after the animation is printed after it."""
    names = ["a.gif", f"a.gif{FRAME}3", f"a.gif{FRAME}6", "b.png"]
    printer = Printer(Wanted(as_json=True), names, lambda scores: (TagScore("t", float(scores[0])),))
    settled: list[int] = []
    printer.on_settled(settled.append)
    media = [Media(i, name, i) for i, name in enumerate(names)]
    give = {i: Tagged(media[i], (), np.array([score], np.float32)) for i, score in ((0, 0.25), (2, 0.5))}
    printer.store([Tagged(media[3], (TagScore("u", 0.125),), np.zeros(1, np.float32))], {})
    printer.store([give[2], give[0]], {})
    assert settled == [] and capsys.readouterr().out == ""
    printer.fail(media[1], Outcome.FAILED, "broken")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"path": "a.gif", "tags": [{"tag": "t", "score": 0.5}]},
        {"path": "b.png", "tags": [{"tag": "u", "score": 0.125}]},
    ]
    assert sum(settled) == 4 and printer.failures == 1
