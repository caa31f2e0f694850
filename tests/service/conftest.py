"""A small library served over real HTTP."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from service.embedded import Running, embedded

NAMES = ("a.jpg", "b.PNG", "nested folder/été/c.webp", "<img src=x onerror=alert(1)>.jpg")
"""In the order of their ids: a scan numbers new files by path."""


def draw(path: Path, size: tuple[int, int] = (64, 48), colour: str = "teal") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "library"
    for name in NAMES:
        draw(root / name)
    (root / "notes.txt").write_text("no picture", encoding="utf-8")
    return root


@pytest.fixture
def running(library: Path, tmp_path: Path) -> Iterator[Running]:
    with embedded(library, db=tmp_path / "library.db", rescan=0) as service:
        yield service


@pytest.fixture(scope="package")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """One service, started once, for tests that only ask for what must be refused; the client knows the token."""
    folder = tmp_path_factory.mktemp("idle")
    draw(folder / "library" / "a.jpg")
    with embedded(folder / "library", db=folder / "idle.db", rescan=0) as service:
        headers = {"Authorization": f"Bearer {service.token}"}
        with httpx.Client(base_url=service.url, headers=headers) as client:
            yield client


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    """Knows the token, as the engine does."""
    with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {running.token}"}) as client:
        yield client


@pytest.fixture
def ids(running: Running, http: httpx.Client) -> dict[str, int]:
    """Path -> id of every picture."""
    answer = http.post(running.segment_url, json={"segmentStart": 0, "limit": 100, "storageStatus": "ALL_DL"})
    return {item["storageUrl"]: item["id"] for item in answer.json()["data"]}


def record(media_id: int | str, tag: str, similarity: str = "0.987") -> dict[str, int | str]:
    return {"mediaId": media_id, "tagKey": tag, "similarity": similarity}
