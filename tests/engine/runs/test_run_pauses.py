"""Storages that fail for a while in the middle of a run: real servers, a real folder, all stages; only the session is
none. Nothing may fail for it."""

import errno
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.pipeline import Pipeline
from engine.storage import Access, Storage, open_storage
from engine.types import Outcome
from tests.support.file_server import FileServer, Reply
from tests.support.pipelines import QUICK, Catalogue, build, draw

PICTURES, READERS = 300, 32
STORM_S = 2.0
"""How long the storage fails, by the clock of the server."""
ASKED_EACH_S = 0.2
WAITS = replace(QUICK, storm=ASKED_EACH_S, root_away=0.05)
LISTED = b"<ListBucketResult><Contents><Key>000.png</Key></Contents></ListBucketResult>"
NAMES = [f"{i:03}.png" for i in range(PICTURES)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("storms")
    for i, name in enumerate(NAMES):
        draw(folder / name, i)
    return folder


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "s.db") as opened:
        yield opened


class Trouble:
    """Begins when so many files were asked for; ends after so long, or when it is told to."""

    def __init__(self, after: int = 100, lasts_s: float = 1e6) -> None:
        self._after, self._lasts_s = after, lasts_s
        self._lock = threading.Lock()
        self._began: float | None = None
        self._mended = False
        self.asked: list[float] = []  # when something was asked for while it lasted, in seconds since it began

    def lasts(self) -> bool:
        """Whether a request of this moment meets it."""
        with self._lock:
            now = time.monotonic()
            self._after -= 1
            if self._after >= 0 or self._mended:
                return False
            self._began = self._began or now
            if now - self._began > self._lasts_s:
                return False
            self.asked.append(now - self._began)
            return True

    def mend(self) -> None:
        with self._lock:
            self._mended = True


class Bucket:
    """A server that speaks enough of S3, and answers with `reply` while the trouble lasts."""

    def __init__(self, pictures: Path, trouble: Trouble, reply: Callable[[str], Reply | None]) -> None:
        files = {f"/pictures/{path.name}": path.read_bytes() for path in pictures.iterdir()}

        def rule(path: str, _: dict[str, str]) -> Reply | None:
            if self.trouble.lasts() and (failing := reply(path)):
                return failing
            return Reply(body=LISTED) if "?" in path else None

        self.trouble = trouble
        self.server = FileServer(files, rule)

    def __enter__(self) -> "Bucket":
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()

    def open(self, **environment: str) -> Storage:
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "HOME": "/nowhere"}
        return open_storage(
            "s3://pictures", Access(10.0, environment={"AWS_ENDPOINT_URL": self.server.url} | (environment or keys))
        )


def error(status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
    body = f"<Error><Code>{code}</Code><Message>so it is</Message></Error>"
    return Reply(status, body.encode(), {"Content-Type": "application/xml"} | (headers or {}))


def run(storage: Storage, ledger: Ledger, say: Callable[[str], None], names: Sequence[str] = NAMES) -> Pipeline:
    """One run of 32 readers; it is ended when it waits for ever."""
    stop = Stop()
    late = threading.Timer(60, stop.set, [AssertionError("the run does not come to its end")])
    late.start()
    pipeline = build(Catalogue(names), storage, ledger, stop, say=say, waits=WAITS, read_threads=READERS)
    try:
        pipeline.run()
    finally:
        late.cancel()
    return pipeline


def is_done(ledger: Ledger, pipeline: Pipeline) -> bool:
    return ledger.counts()[Outcome.OUTBOX] == PICTURES and pipeline.tally.failed == 0


def assert_asked_seldom(trouble: Trouble, each_s: float) -> None:
    """As many failures as there are readers make it a storm, and as many are under way then. From there on one asks."""
    later = [at for at in trouble.asked if at > 0.5]
    assert len(trouble.asked) - len(later) <= 3 * READERS
    assert later and all(after - before > 0.9 * each_s for before, after in itertools.pairwise(later))


@pytest.mark.parametrize(
    ("reply", "each_s"),
    [
        (Reply(503, b"overloaded"), ASKED_EACH_S),
        (error(503, "SlowDown"), ASKED_EACH_S),
        (error(503, "SlowDown", {"Retry-After": "1"}), 1.0),
    ],
    ids=["503", "SlowDown", "Retry-After"],
)
def test_a_server_that_says_not_now_is_waited_for(reply: Reply, each_s: float, pictures: Path, ledger: Ledger) -> None:
    said: list[str] = []
    with Bucket(pictures, Trouble(lasts_s=STORM_S), lambda _: reply) as bucket:
        pipeline = run(bucket.open(), ledger, said.append)
    assert is_done(ledger, pipeline)
    assert_asked_seldom(bucket.trouble, each_s)
    assert [sentence.split(":")[0] for sentence in said] == [
        "the storage fails, read after read",
        "the storage can be read again",
    ]
    assert "503" in said[0]


def test_a_disk_that_fails_below_a_root_that_can_be_listed_is_waited_for(
    pictures: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.stat().st_ino for path in pictures.iterdir()}
    trouble, read, said = Trouble(lasts_s=STORM_S), os.read, list[str]()

    def failing(descriptor: int, size: int) -> bytes:
        if os.fstat(descriptor).st_ino in files and trouble.lasts():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", failing)
    pipeline = run(open_storage(str(pictures)), ledger, said.append)
    assert is_done(ledger, pipeline)
    assert_asked_seldom(trouble, ASKED_EACH_S)
    assert [sentence.split(":")[0] for sentence in said] == [
        "the storage fails, read after read",
        "the storage can be read again",
    ]
    assert os.strerror(errno.EIO) in said[0]


def test_a_storm_at_the_very_end_fails_nothing(pictures: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer files are left than failures make a storm."""
    files = {path.stat().st_ino for path in pictures.iterdir()}
    trouble, read, said = Trouble(after=PICTURES - 10, lasts_s=STORM_S), os.read, list[str]()

    def failing(descriptor: int, size: int) -> bytes:
        if os.fstat(descriptor).st_ino in files and trouble.lasts():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", failing)
    pipeline = run(open_storage(str(pictures)), ledger, said.append)
    assert trouble.asked
    assert is_done(ledger, pipeline)


@pytest.mark.parametrize(
    ("status", "code", "cure"),
    [
        (403, "InvalidAccessKeyId", "the server does not know the access key (AWS_ACCESS_KEY_ID)"),
        (403, "SignatureDoesNotMatch", "the secret key (AWS_SECRET_ACCESS_KEY) from the environment is not that of a"),
        (403, "AccessDenied", "who reads has no right to any file any more, give it back"),
        (404, "NoSuchBucket", "there is no bucket pictures: check --storage, and AWS_ENDPOINT_URL"),
        (400, "ExpiredToken", "have expired: renew them"),
        (401, "Unauthorized", "401 Unauthorized"),
    ],
)
def test_what_goes_wrong_in_the_middle_is_said_with_its_code_and_waited_for(
    status: int, code: str, cure: str, pictures: Path, ledger: Ledger
) -> None:
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        if "cannot be read" in sentence:
            bucket.trouble.mend()

    with Bucket(pictures, Trouble(), lambda _: error(status, code)) as bucket:
        pipeline = run(bucket.open(), ledger, say)
    assert is_done(ledger, pipeline)
    assert len(said) == 2 and said[1] == "the storage can be read again"
    assert said[0].startswith("the storage cannot be read: waiting for it; nothing is marked as failed (")
    assert f"says {status} {code}" in said[0] and cure in said[0]


def test_one_file_that_these_keys_may_not_read_fails_alone(pictures: Path, ledger: Ledger) -> None:
    def one(path: str) -> Reply | None:
        return error(403, "AccessDenied") if path.endswith("/150.png") else None

    said: list[str] = []
    with Bucket(pictures, Trouble(after=0), one) as bucket:
        pipeline = run(bucket.open(), ledger, said.append)
    assert (pipeline.tally.images, pipeline.tally.failed, said) == (PICTURES - 1, 1, [])
    [(_, url, reason)] = ledger.reasons(Outcome.FAILED)
    assert url == "150.png" and "403 AccessDenied" in reason


def test_keys_that_are_replaced_in_their_file_are_taken_up(pictures: Path, ledger: Ledger, tmp_path: Path) -> None:
    """The old ones are not taken any more from some moment on, as when somebody rotates them."""

    def write(key: str) -> None:
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = b\n", encoding="utf-8")

    def rule(path: str, headers: dict[str, str]) -> Reply | None:
        if trouble.lasts() and "Credential=OLD" in headers.get("authorization", ""):
            return error(403, "InvalidAccessKeyId")
        return Reply(body=LISTED) if "?" in path else None

    def say(sentence: str) -> None:
        said.append(sentence)
        if "InvalidAccessKeyId" in sentence:
            write("NEW")

    said: list[str] = []
    file, trouble = tmp_path / "credentials", Trouble()
    write("OLD")
    with Bucket(pictures, trouble, lambda _: None) as bucket:
        bucket.server.rule = rule
        storage = bucket.open(AWS_SHARED_CREDENTIALS_FILE=str(file), HOME=str(tmp_path))
        pipeline = run(storage, ledger, say)
    assert is_done(ledger, pipeline) and len(said) == 2
