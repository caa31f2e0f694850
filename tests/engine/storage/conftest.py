"""The servers and folders that storages are tried on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from engine.storage import Access, Storage, open_storage
from tests.support.file_server import FileServer
from tests.support.samba import Samba, missing
from tests.support.seaweed import Seaweed


@dataclass
class Place:
    """A kind of storage with a place to put files."""

    kind: str
    put: Callable[[str, bytes], None]
    open: Callable[[], Storage]


@pytest.fixture(scope="session")
def samba(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samba]:
    """A share that is mounted."""
    if reason := missing():
        pytest.skip(reason)
    with Samba(tmp_path_factory.mktemp("samba")) as server:
        yield server


@pytest.fixture(params=["folder", "s3", "http", pytest.param("smb", marks=pytest.mark.full)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each kind in turn, with one file `there.jpg`."""
    if request.param == "folder":
        root = tmp_path / "pictures"

        def put(key: str, body: bytes) -> None:
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(body)

        put("there.jpg", b"there")
        yield Place("folder", put, lambda: open_storage(str(root)))
    elif request.param == "s3":
        server: Seaweed = request.getfixturevalue("seaweed")
        access = Access(10.0, environment=server.environment())
        yield Place(
            "s3", lambda key, body: server.put("pictures", key, body), lambda: open_storage("s3://pictures", access)
        )
    elif request.param == "smb":
        share: Samba = request.getfixturevalue("samba")

        def put_into_share(key: str, body: bytes) -> None:
            (share.files / key).parent.mkdir(parents=True, exist_ok=True)
            (share.files / key).write_bytes(body)

        put_into_share("there.jpg", b"there")
        yield Place("smb", put_into_share, lambda: open_storage(str(share.mount)))
    else:
        with FileServer({"/base/there.jpg": b"there"}) as web:
            yield Place(
                "http",
                lambda key, body: web.files.update({"/base/" + quoted(key): body}),
                lambda: open_storage(f"{web.url}/base", Access(10.0)),
            )


def quoted(key: str) -> str:
    return quote(key, safe="/")
