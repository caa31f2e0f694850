"""A token file as each editor writes it; a file that is replaced as a whole or not at all."""

from pathlib import Path

import pytest

from engine.errors import ConfigError, first_line
from engine.files import read_token, replacing

TOKEN = "a-token-for-tests"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n\n"])
def test_a_token_is_the_same_whatever_wrote_it(tmp_path: Path, encoding: str, end: str) -> None:
    file = tmp_path / "token"
    file.write_bytes((TOKEN + end).encode(encoding))
    assert read_token(file) == TOKEN


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "is empty"), (b"\xef\xbb\xbf\r\n", "is empty"), (b"two words", "a space"), (b"\x81\x82", "not a text file")],
)
def test_a_file_without_a_token(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        read_token(file)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "it.json"
    file.write_text("old", encoding="utf-8")
    with replacing(file) as part:
        part.write_text("new", encoding="utf-8")
        assert file.read_text(encoding="utf-8") == "old"
    assert file.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [file]


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "it.json"
    file.write_text("old", encoding="utf-8")

    def write_half() -> None:
        with replacing(file) as part:
            part.write_text("ha", encoding="utf-8")
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write_half()
    assert file.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_two_writers_do_not_share_a_part(tmp_path: Path) -> None:
    file = tmp_path / "it.json"
    with replacing(file) as one, replacing(file) as other:
        one.write_text("one", encoding="utf-8")
        other.write_text("other", encoding="utf-8")
    assert file.read_text(encoding="utf-8") == "one"


def test_the_first_line_of_an_error() -> None:
    assert first_line(ValueError("\n what it is \nand 40 lines of traceback")) == "what it is"
    assert first_line(ValueError("x" * 1000)) == "x" * 300
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"
