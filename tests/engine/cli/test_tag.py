"""`engine tag`: which files it takes, in which order, and what of their names reaches the terminal."""

import json
import os
import random
from pathlib import Path

import pytest

from engine.cli.printer import Printer, Wanted
from engine.cli.tag import pictures
from engine.errors import ConfigError
from engine.types import Media, Outcome, Tagged, TagScore
from tests.support.pipelines import draw

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
