"""Reads that hang, a root that vanishes, failures beyond the budget: recognised, waited for, said."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import EngineError, Kind, SessionError, StorageError, Unreadable
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.stages.failure_budget import FailureBudget
from engine.stages.storage_watch import ReadWatch, RootWatch, StormWatch
from engine.stages.ticket import InFlight, Ticket
from engine.storage import Reading
from engine.types import FileState, Media, Outcome
from tests.support.pipelines import QUICK, Catalogue, Wrapped, build, draw
from tests.support.sessions import ColourSession

MISSING = Unreadable("no such file", Kind.MISSING)


class Root:
    """A root that is there or not, as its list says; it stays as it was last."""

    def __init__(self, *alive: bool) -> None:
        self.alive, self.looks = list(alive), 0

    def check(self) -> None:
        self.looks += 1
        if not (self.alive.pop(0) if len(self.alive) > 1 else self.alive[0]):
            raise StorageError("the folder is empty")

    def open(self, key: str, *, max_bytes: int) -> Reading:
        raise NotImplementedError

    def state(self, key: str) -> FileState:
        raise NotImplementedError


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(40):
        draw(folder / f"{i:02}.png", i)
    return folder


class Hanging(Wrapped):
    """Keys that `hangs` picks get no answer before `release`; neither do questions about the root or any file, then."""

    def __init__(self, root: Path, hangs: Callable[[str], bool], release: threading.Event) -> None:
        self._hang, self._hangs, self._release = False, hangs, release
        super().__init__(root, self._wait)

    def check(self) -> None:
        self._wait("")
        super().check()

    def _wait(self, key: str) -> None:
        self._hang |= bool(key) and self._hangs(key)
        if self._hang:
            assert self._release.wait(60)


def names(library: Path) -> list[str]:
    return sorted(path.name for path in library.iterdir())


def test_a_thousand_missing_files_cost_one_look() -> None:
    root = Root(True)
    watch = RootWatch(root, Stop(), print, QUICK)
    assert not any(watch.wait_until_there(0, MISSING, "1.png", final=False) for _ in range(1000))
    assert root.looks == 1


def test_a_failure_that_stays_is_believed_only_after_a_look_of_its_own() -> None:
    root = Root(True, False, True)
    watch = RootWatch(root, Stop(), lambda _: None, QUICK)
    assert not watch.wait_until_there(0, MISSING, "1.png", final=False)
    assert watch.wait_until_there(0, MISSING, "1.png", final=True)
    assert root.looks == 3


def test_a_root_that_is_away_is_waited_for_and_said() -> None:
    said: list[str] = []
    watch = RootWatch(Root(False, False, False, True), Stop(), said.append, QUICK)
    assert watch.wait_until_there(0, MISSING, "1.png", final=False)
    assert [sentence.split(":")[0] for sentence in said] == [
        "the storage root is not there",
        "the storage root is back",
    ]


def test_another_reason_that_somebody_must_mend_is_said_too() -> None:
    class Restarted(Root):
        """A server that is started again, and does not know the keys any more."""

        def check(self) -> None:
            self.looks += 1
            if self.looks <= 2:
                raise StorageError("nothing answers")
            if self.looks <= 4:
                raise StorageError("403 InvalidAccessKeyId", Kind.MISCONFIGURED)

    said: list[str] = []
    watch = RootWatch(Restarted(True), Stop(), said.append, QUICK)
    assert watch.wait_until_there(0, MISSING, "1.png", final=False)
    assert said == [
        "the storage root is not there: waiting for it; nothing is marked as failed (nothing answers)",
        "the storage cannot be read: waiting for it; nothing is marked as failed (403 InvalidAccessKeyId)",
        "the storage can be read again",
    ]


def test_a_read_that_began_while_the_root_was_away_is_worth_another_try() -> None:
    began: list[int] = []
    watch = RootWatch(Root(False, False, True), Stop(), lambda _: began.append(watch.turns), QUICK)
    assert watch.wait_until_there(0, MISSING, "1.png", final=True)
    # It failed meanwhile, and waited for its turn to ask until the root was back.
    assert watch.wait_until_there(began[0], MISSING, "2.png", final=True)
    assert not watch.wait_until_there(watch.turns, MISSING, "3.png", final=True)


def test_waiting_for_a_root_ends_with_the_run() -> None:
    stop = Stop()
    watch = RootWatch(Root(False), stop, lambda _: stop.set(), QUICK)
    assert watch.wait_until_there(0, MISSING, "1.png", final=True)


@pytest.fixture
def ticket(tmp_path: Path):
    with Ledger(tmp_path / "ticket.db") as ledger:
        admitted = InFlight(ledger, FailureBudget(None), Stop(), places=9).admit(Media(1, "1.png", 1))
        assert admitted
        yield admitted


def test_a_given_up_thread_is_replaced_before_its_read_can_return(ticket: Ticket) -> None:
    """Else it could leave, as the last of its stage, and close what its replacement is to fill."""
    watch = ReadWatch(0.0, most_given_up=9)
    began, release, replaced, ends = threading.Event(), threading.Event(), threading.Event(), []

    def read() -> None:
        watch.begin(ticket)
        began.set()
        release.wait(30)
        ends.append((watch.end(), replaced.is_set()))

    def replace(thread: threading.Thread) -> None:
        release.set()
        thread.join(0.05)
        replaced.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert began.wait(10)
    time.sleep(0.001)  # the clock of some systems is coarse
    assert [read.ticket for read in watch.give_up(replace)] == [ticket]
    thread.join(10)
    assert ends == [(False, True)]


def test_only_reads_that_still_hang_count_against_the_storage(ticket: Ticket) -> None:
    watch = ReadWatch(0.0, most_given_up=1)

    def hang(release: threading.Event) -> threading.Thread:
        began = threading.Event()

        def read() -> None:
            watch.begin(ticket)
            began.set()
            release.wait(30)
            assert not watch.end()

        thread = threading.Thread(target=read)
        thread.start()
        assert began.wait(10)
        return thread

    for _ in range(5):  # one at a time: each comes back in the end
        release = threading.Event()
        thread = hang(release)
        time.sleep(0.001)
        assert [read.ticket for read in watch.give_up(lambda _: None)] == [ticket]
        release.set()
        thread.join(10)
    release = threading.Event()
    threads = [hang(release), hang(release)]
    time.sleep(0.001)
    with pytest.raises(StorageError, match="2 reads got no answer"):
        watch.give_up(lambda _: None)
    release.set()
    for thread in threads:
        thread.join(10)


def test_a_share_that_vanishes_in_the_middle_fails_nothing(library: Path, tmp_path: Path) -> None:
    said: list[str] = []
    away = tmp_path / "away"
    urls = names(library)

    def before(key: str) -> None:
        if key == "20.png" and not said and library.exists():
            library.rename(away)

    def say(sentence: str) -> None:
        said.append(sentence)
        if "not there" in sentence:
            away.rename(library)

    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(urls), Wrapped(library, before), ledger, say=say, read_threads=3)
        pipeline.run()
        assert ledger.counts()[Outcome.OUTBOX] == 40
    assert (pipeline.tally.images, pipeline.tally.failed) == (40, 0)
    assert said[0].startswith("the storage root is not there") and said[1] == "the storage root is back"


def test_a_network_that_blinks_fails_nothing(library: Path, tmp_path: Path) -> None:
    """Back again before anybody can look at the root."""
    seen: set[str] = set()

    def before(key: str) -> None:
        if key in ("05.png", "25.png") and key not in seen:
            seen.add(key)
            raise Unreadable("host is down", Kind.TRANSIENT)

    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(names(library)), Wrapped(library, before), ledger)
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.failed) == (40, 0)


def test_a_share_that_is_not_mounted_at_the_start_is_waited_for(tmp_path: Path) -> None:
    """What an unmounted share leaves behind is an empty folder."""
    folder, share = tmp_path / "mount point", tmp_path / "share"
    folder.mkdir()
    share.mkdir()
    for i in range(10):
        draw(share / f"{i}.png", i)
    said: list[str] = []

    def say(sentence: str) -> None:
        said.append(sentence)
        if "not there" in sentence:
            folder.rmdir()
            share.rename(folder)

    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue([f"{i}.png" for i in range(10)]), folder, ledger, say=say)
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.failed, len(said)) == (10, 0, 2)


def test_a_read_that_hangs_fails_alone(library: Path, tmp_path: Path) -> None:
    release = threading.Event()
    storage = Wrapped(library, lambda key: release.wait(60) if key in ("03.png", "31.png") else None)
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(names(library)), storage, ledger, read_timeout=0.1, read_threads=1)
        pipeline.run()
        reasons = {url: reason for _, url, reason in ledger.reasons(Outcome.FAILED)}
        release.set()
        assert ledger.counts()[Outcome.OUTBOX] == 38
        again = build(Catalogue(names(library)), library, ledger)  # and the next run tries them by itself
        again.run()
        assert ledger.counts()[Outcome.OUTBOX] == 40
    assert set(reasons) == {"03.png", "31.png"}
    assert all("--read-timeout" in reason for reason in reasons.values())
    assert (pipeline.tally.images, again.tally.images) == (38, 2)


@pytest.mark.parametrize("good", [0, 20])
@pytest.mark.parametrize("threads", [1, 2, None])
def test_a_storage_that_hangs_altogether_is_said_and_fails_nothing(
    library: Path, tmp_path: Path, good: int, threads: int | None
) -> None:
    """From the beginning, or in the middle; for longer than --read-timeout."""
    release = threading.Event()
    said: list[str] = []
    since: list[float] = []

    def tick() -> None:
        if said and not since:
            since.append(time.monotonic())
        if since and time.monotonic() - since[0] > 1.0:
            release.set()

    hangs = Hanging(library, lambda key: int(key[:2]) >= good, release)
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(
            Catalogue(names(library)), hangs, ledger, say=said.append, read_timeout=0.4, read_threads=threads,
            max_failures="0",
        )  # fmt: skip
        pipeline.run(tick)
    assert since and (pipeline.tally.images, pipeline.tally.failed) == (40, 0)
    assert [sentence.split(",")[0] for sentence in said] == ["the storage gives no answer", "the storage answers again"]
    assert "share still connected" in said[0] and "Ctrl-C" in said[0]


def test_reads_that_never_come_back_are_read_again_when_the_storage_does(library: Path, tmp_path: Path) -> None:
    """As after a share was mounted anew: what was open before hangs for ever, and is nobody's fault."""
    ever, release, stuck = threading.Event(), threading.Event(), []
    said: list[str] = []
    lock = threading.Lock()

    def before(key: str) -> None:
        if key != "00.png" and not release.is_set():
            with lock:
                stuck.append(key)
            ever.wait(60)
        elif not release.is_set() and stuck:  # the question whether the storage lives
            release.wait(60)

    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(
            Catalogue(names(library)), Wrapped(library, before), ledger, say=said.append, read_timeout=0.2,
            read_threads=3, max_failures="0",
        )  # fmt: skip
        pipeline.run(lambda: release.set() if said else None)
    ever.set()
    assert len(stuck) == 3 and (pipeline.tally.images, pipeline.tally.failed) == (40, 0)


def test_a_timeout_of_the_client_is_no_answer(ticket: Ticket) -> None:
    """A server that is stopped: its client keeps the time itself and ends the question with an error."""
    asked: list[threading.Event] = []

    class Stopped(Root):
        def check(self) -> None:
            asked.append(threading.Event())
            assert asked[-1].wait(60)
            raise StorageError("no answer within 1 s", Kind.TRANSIENT)

    def look_until(true: Callable[[], object]) -> None:
        until = time.monotonic() + 20
        while not true():
            watch.look()
            assert time.monotonic() < until

    said: list[str] = []
    watch = ReadWatch(60.0, 9, Stopped(True), said.append, replace(QUICK, silence=0.05))
    watch.begin(ticket)
    look_until(lambda: watch.all_hang)
    until = time.monotonic() + 0.06
    while time.monotonic() < until:
        watch.look()
    asked[0].set()
    look_until(lambda: len(asked) > 1)  # asked once more, and still nothing is said
    states = [watch.all_hang, len(said) == 1, watch.end()]
    watch.look()
    assert [*states, watch.all_hang] == [True, True, True, False] and said[1] == "the storage answers again"
    asked[1].set()


def test_a_look_at_a_root_that_hangs_is_said(tmp_path: Path) -> None:
    release = threading.Event()

    class Deaf(Root):
        def check(self) -> None:
            self.looks += 1
            release.wait(60)

    root, said = Deaf(True), []

    def say(sentence: str) -> None:
        said.append(sentence)
        release.set()

    watch = RootWatch(root, Stop(), say, replace(QUICK, silence=0.02))
    assert watch.wait_until_there(0, MISSING, "1.png", final=True)
    assert "no answer within 0.02 s" in said[0] and "is back" in said[1]
    assert root.looks <= 2  # the look that hangs is waited for, and not repeated


def test_a_state_that_is_never_told_holds_up_nothing(tmp_path: Path) -> None:
    """It is asked for a file that has failed, by readers, decoders and the source."""
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(10):
        (folder / f"{i}.png").write_bytes(b"no picture")
        (folder / f"{i} b.png").write_bytes(b"\x89PNG\r\n\x1a\n, and no more")
    release = threading.Event()

    class Silent(Wrapped):
        def state(self, key: str) -> FileState:
            release.wait(60)
            return super().state(key)

    with Ledger(tmp_path / "s.db") as ledger:
        waits = replace(QUICK, silence=0.02)
        storage = Silent(folder, lambda _: None)
        pipeline = build(Catalogue(names(folder)), storage, ledger, waits=waits, max_failures=None)
        pipeline.run()
        assert pipeline.tally.failed == 20
    release.set()


@pytest.mark.parametrize("limit", ["5", "20%"])
def test_more_failures_than_allowed_end_the_run(limit: str, tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(200):
        (folder / f"{i:03}.png").write_bytes(b"no picture")
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(names(folder)), folder, ledger, max_failures=limit)
        with pytest.raises(EngineError, match="more than --max-failures"):
            pipeline.run()
    with Ledger(tmp_path / "s.db") as ledger:  # opened again, for what was on its way to the disk
        counts = ledger.counts()
    assert 0 < counts[Outcome.FAILED] < 200  # the rest is pending, or not listed yet


def test_a_hanging_read_can_be_the_failure_too_many(library: Path, tmp_path: Path) -> None:
    """That failure is counted by the main thread: it must end the run like any other, and not break out of it."""
    release = threading.Event()
    storage = Wrapped(library, lambda key: release.wait(60) if key == "03.png" else None)
    stop = Stop()
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(names(library)), storage, ledger, stop, read_timeout=0.1, max_failures="0")
        with pytest.raises(EngineError, match="--max-failures 0"):
            pipeline.run()
        assert stop.is_set()
        release.set()


def test_what_is_no_picture_is_no_failure(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(150):
        (folder / f"{i:03}.txt").write_text("a sidecar", encoding="utf-8")
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(names(folder)), folder, ledger, max_failures="0")
        pipeline.run()
    assert (pipeline.tally.skipped, pipeline.tally.failed) == (150, 0)


def test_leaving_does_not_wait_for_a_hanging_read(library: Path, tmp_path: Path) -> None:
    release, stop = threading.Event(), Stop()
    storage = Wrapped(library, lambda key: release.wait(60) if key == "20.png" else None)
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(
            Catalogue(names(library)), storage, ledger, stop, waits=replace(QUICK, leave=0.5), read_threads=1
        )
        began = time.monotonic()
        pipeline.run(tick=lambda: stop.set() if ledger.counts()[Outcome.OUTBOX] == 20 else None)
        assert time.monotonic() - began < 10
        release.set()
        assert ledger.counts()[Outcome.OUTBOX] == 20


def test_leaving_ends_a_running_batch(library: Path, tmp_path: Path) -> None:
    class Slow(ColourSession):
        def run(self, pixels: np.ndarray) -> np.ndarray:
            running.set()
            assert self.terminated.wait(60)
            raise SessionError("terminated")

    running, stop = threading.Event(), Stop()
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(names(library)), library, ledger, stop, session=Slow())
        began = time.monotonic()
        pipeline.run(tick=lambda: stop.set() if running.is_set() else None)
        assert time.monotonic() - began < 5
        assert ledger.counts()[Outcome.PENDING] > 0 and stop.error is None


def test_more_missing_files_than_there_are_places_do_not_block_the_flow(tmp_path: Path) -> None:
    """Each keeps its place while it waits for its second chance, which comes when the catalogue is through."""
    folder = tmp_path / "library"
    folder.mkdir()
    draw(folder / "last.png", 1)
    with Ledger(tmp_path / "s.db") as ledger:
        urls = [f"gone {i}.png" for i in range(60)] + ["last.png"]
        pipeline = build(Catalogue(urls), folder, ledger, outbox_limit=8, max_failures=None)
        pipeline.run()
        assert pipeline.tally.failed == 60 and pipeline.tally.images == 1
        assert pipeline.in_flight.places.taken == ledger.counts()[Outcome.OUTBOX] == 1


class Storm:
    """Fails so many reads, one after the other, as an overloaded storage does; then all is well."""

    def __init__(self, reads: int, begins_at: str = "10.png") -> None:
        self._left, self._begins_at, self._began = reads, begins_at, False
        self._lock = threading.Lock()
        self.asked = 0

    def __call__(self, key: str) -> None:
        with self._lock:
            self._began |= key == self._begins_at
            if self._began and self._left:
                self._left -= 1
                self.asked += 1
                raise Unreadable("503 SlowDown", Kind.TRANSIENT)


STORMY = replace(QUICK, storm=0.002)


def test_a_storm_of_errors_fails_nothing(library: Path, tmp_path: Path) -> None:
    said: list[str] = []
    storage = Wrapped(library, Storm(60))
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(
            Catalogue(names(library)), storage, ledger, say=said.append, waits=STORMY, read_threads=4, max_failures="0"
        )
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.failed) == (40, 0)
    assert [sentence.split(":")[0] for sentence in said] == [
        "the storage fails, read after read", "the storage can be read again"
    ]  # fmt: skip
    assert "503 SlowDown" in said[0]


def test_files_that_were_open_before_a_storm_do_not_end_it() -> None:
    """They wait for a share of the read-ahead and come one by one; each would let all readers ask at once."""
    stop, ended = Stop(), threading.Event()
    watch = StormWatch(1, stop, lambda _: None, replace(QUICK, storm=30.0))
    asked = time.monotonic()

    def wait() -> None:
        watch.wait_until_over(Unreadable("503 SlowDown", Kind.TRANSIENT))
        ended.set()

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    while not watch.lasts:
        time.sleep(0.001)
    found = []
    for when in (asked, time.monotonic()):
        watch.passed(when)
        found.append(watch.lasts)
    assert found == [True, False]
    stop.set()
    assert ended.wait(10)
    for thread in threads:
        thread.join(10)


def test_a_few_files_that_cannot_be_read_are_no_storm(library: Path, tmp_path: Path) -> None:
    def before(key: str) -> None:
        if key in ("03.png", "31.png"):
            raise Unreadable("input/output error", Kind.TRANSIENT)

    said: list[str] = []
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(
            Catalogue(names(library)), Wrapped(library, before), ledger, say=said.append, waits=STORMY, read_threads=4
        )
        pipeline.run()
        assert (pipeline.tally.images, pipeline.tally.failed, said) == (38, 2, [])
        build(Catalogue(names(library)), library, ledger).run()  # the next run tries them without being told to
        assert ledger.counts()[Outcome.OUTBOX] == 40


def test_a_storm_without_an_end_is_taken_for_broken_files_where_others_can_be_read(
    library: Path, tmp_path: Path
) -> None:
    def before(key: str) -> None:
        if key >= "10.png":
            raise Unreadable("input/output error", Kind.TRANSIENT)

    with Ledger(tmp_path / "s.db") as ledger:
        waits = replace(STORMY, storm_longest=0.05)
        pipeline = build(
            Catalogue(names(library)), Wrapped(library, before), ledger, waits=waits, read_threads=4, max_failures=None
        )
        pipeline.run()
        assert (pipeline.tally.images, pipeline.tally.failed) == (10, 30)


def test_a_storm_that_lasts_and_lasts_fails_nothing_while_no_other_file_can_be_read(
    library: Path, tmp_path: Path
) -> None:
    """Its root may look well all the time."""
    over = threading.Event()
    said: list[str] = []

    def before(key: str) -> None:
        if (key >= "10.png" or said) and not over.is_set():
            raise Unreadable("input/output error", Kind.TRANSIENT)

    def say(sentence: str) -> None:
        said.append(sentence)
        if sentence.startswith("the storage cannot be read"):
            over.set()

    with Ledger(tmp_path / "s.db") as ledger:
        waits = replace(STORMY, storm_longest=0.05)
        pipeline = build(
            Catalogue(names(library)), Wrapped(library, before), ledger, say=say, waits=waits, read_threads=4
        )
        pipeline.run()
        assert (pipeline.tally.images, pipeline.tally.failed) == (40, 0)
    assert over.is_set()


def test_a_storm_ends_with_the_run(library: Path, tmp_path: Path) -> None:
    stop = Stop()
    waits = replace(STORMY, storm=60.0)
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(
            Catalogue(names(library)), Wrapped(library, Storm(10**9)), ledger, stop,
            say=lambda _: stop.set(), waits=waits, read_threads=4,
        )  # fmt: skip
        began = time.monotonic()
        pipeline.run()
        assert time.monotonic() - began < 10


class Denials:
    """Reads are denied: of these keys, or of all from a certain one on until it is `mended`."""

    def __init__(self, keys: tuple[str, ...] = (), all_from: str | None = None) -> None:
        self._keys, self._all_from = keys, all_from
        self.mended = threading.Event()
        self.asked = 0
        self._began = False

    def __call__(self, key: str) -> None:
        self._began |= key == self._all_from
        if key in self._keys or (self._began and not self.mended.is_set()):
            self.asked += 1
            raise Unreadable(f"cannot read {key}: http://nas says 403 AccessDenied", Kind.DENIED)


@pytest.mark.parametrize("begins_at", ["00.png", "20.png"])
def test_rights_that_are_taken_away_are_waited_for(begins_at: str, library: Path, tmp_path: Path) -> None:
    said: list[str] = []
    denials = Denials(all_from=begins_at)

    def say(sentence: str) -> None:
        said.append(sentence)
        if "cannot be read" in sentence:
            denials.mended.set()

    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(names(library)), Wrapped(library, denials), ledger, say=say, read_threads=4)
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.failed) == (40, 0)
    assert len(said) == 2 and "403 AccessDenied" in said[0] and "nothing is marked as failed" in said[0]
    assert "has no right to any file any more, give it back" in said[0]
    assert said[1] == "the storage can be read again"


def test_a_denied_file_among_good_ones_fails_alone(library: Path, tmp_path: Path) -> None:
    said: list[str] = []
    denied = tuple(f"{i:02}.png" for i in range(0, 40, 3))  # more than any number that would be taken for all
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(
            Catalogue(names(library)), Wrapped(library, Denials(denied)), ledger, say=said.append, read_threads=4
        )
        pipeline.run()
        reasons = {url: reason for _, url, reason in ledger.reasons(Outcome.FAILED, 99)}
    assert set(reasons) == set(denied) and "403 AccessDenied" in reasons["00.png"]
    assert (pipeline.tally.images, said) == (26, [])


def test_denials_of_all_that_is_left_are_believed_in_the_end(library: Path, tmp_path: Path) -> None:
    """Nothing else can show whether the storage is at fault, and nobody mends it."""
    said: list[str] = []
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(
            Catalogue(names(library)), Wrapped(library, Denials(tuple(names(library)))), ledger, say=said.append,
            read_threads=4, max_failures=None, waits=replace(QUICK, storm_longest=0.05),
        )  # fmt: skip
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.failed, len(said)) == (0, 40, 1)


def test_a_setting_that_went_wrong_is_waited_for_and_told_from_an_absence(library: Path, tmp_path: Path) -> None:
    said: list[str] = []
    wrong = "http://nas says 403 InvalidAccessKeyId: the server does not know the access key"

    class Keys(Wrapped):
        def check(self) -> None:
            if said and len(said) < 2:
                mended.set()
            elif revoked.is_set() and not mended.is_set():
                raise StorageError(f"the storage s3://pictures: {wrong}", Kind.MISCONFIGURED)

    def before(key: str) -> None:
        if key == "20.png":
            revoked.set()
        if revoked.is_set() and not mended.is_set():
            raise Unreadable(f"cannot read {key}: {wrong}", Kind.MISCONFIGURED)

    revoked, mended = threading.Event(), threading.Event()
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue(names(library)), Keys(library, before), ledger, say=said.append, read_threads=4)
        pipeline.run()
    assert (pipeline.tally.images, pipeline.tally.failed) == (40, 0)
    assert said == [
        f"the storage cannot be read: waiting for it; nothing is marked as failed (the storage s3://pictures: {wrong})",
        "the storage can be read again",
    ]
