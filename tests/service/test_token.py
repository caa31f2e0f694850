"""The service's token file, written by whatever editor its user has."""

import codecs
from pathlib import Path

import pytest

from service.errors import ServiceError
from service.token import kept_token, read_token


@pytest.mark.parametrize(
    "mark", [b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE], ids=["plain", "UTF-8 as Notepad", "UTF-16 as PowerShell"]
)
def test_a_byte_order_mark_is_no_part_of_the_token(tmp_path: Path, mark: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(mark + "secret\r\n".encode("utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-8"))
    assert read_token(file) == "secret"


def test_a_token_that_no_client_could_send(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("two words\n", encoding="utf-8")
    with pytest.raises(ServiceError, match="no HTTP header can carry"):
        read_token(file)
    with pytest.raises(ServiceError, match="cannot be read"):
        read_token(tmp_path / "none")


def test_a_token_is_made_once(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "library.token"
    assert kept_token(file) == kept_token(file) == file.read_text(encoding="utf-8").strip()
