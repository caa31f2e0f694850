"""Watching over reads: a root that vanished and a storage that fails are waited for, a read that hangs is given up."""

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from engine.api.backoff import Backoff
from engine.config import WAITS, Waits
from engine.errors import Kind, StorageError, Unreadable
from engine.flow.channels import Stop
from engine.flow.stage import in_thread
from engine.stages.ticket import Claim
from engine.storage import Storage, known_state
from engine.types import FileState


class RootWatch:
    """Tells "this file is missing" from "the share is not mounted", and waits for the share to come back.

    Readers ask after a failed read. One of them looks; while the root is away all wait here, and nothing fails. A root
    may look well though no file can be read: keys that were revoked, a disk that fails. So a file that was read before
    is opened once more. Where none was, `many` denials one after the other are taken for a denial of all, for no longer
    than `Waits.storm_longest`.
    """

    def __init__(
        self, storage: Storage, stop: Stop, say: Callable[[str], None], waits: Waits = WAITS, many: int = 8
    ) -> None:
        self._storage, self._stop, self._say, self._waits, self._many = storage, stop, say, waits, many
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._look: Future[None] | None = None  # one that has no answer yet
        self._good: str | None = None  # the key of a file that was read
        self._denied = 0  # reads, before any that succeeded
        self.turns = 0  # how often the root went away, or came back

    def passed(self, key: str) -> None:
        """This file was read."""
        self._good = key

    def wait_until_there(self, seen: int, error: Unreadable, key: str, *, final: bool) -> bool:
        """After a failed read of `key`: True if the root went away or came back since, so that the read is worth
        another try.

        `seen` is `turns` as it was when the read began. With `final` the medium would now fail for good, so the root is
        looked at again; otherwise a look of the last `Waits.root_look` seconds will do.
        """
        failed = time.monotonic()
        with self._lock:
            self._denied += error.kind is Kind.DENIED
            if self.turns == seen and self._looked < (failed if final else failed - self._waits.root_look):
                self._looked = time.monotonic()
                if error.kind is Kind.MISSING:
                    sample = None
                elif self._good is None and error.kind is Kind.DENIED and final and self._denied >= self._many:
                    sample = key
                else:
                    sample = self._good
                if (trouble := self._trouble(sample)) is not None:
                    self._wait(trouble, sample)
            return self.turns != seen

    def _trouble(self, sample: str | None) -> StorageError | None:
        """Look, in a thread of its own: a look may hang, and then the same one is waited for again."""
        look = self._look = self._look or in_thread(partial(_look, self._storage, sample))
        try:
            look.result(self._waits.silence)
        except TimeoutError:
            if not look.done():
                return StorageError(
                    f"it gives no answer within {self._waits.silence:g} s: is the share still connected?"
                )
        except StorageError as error:
            self._look = None
            return error
        self._look = None
        return None

    def _wait(self, trouble: StorageError, sample: str | None) -> None:
        self.turns += 1
        began, was_good = time.monotonic(), self._good is not None
        back = self._say_trouble(trouble)
        while not self._stop.event.wait(self._waits.root_away):
            now = self._trouble(sample)
            if now is None:
                self.turns += 1  # for the reads that began while it was away, and wait for this lock since they failed
                self._say(back)
                return
            if now.kind is not trouble.kind and now.kind in (Kind.MISCONFIGURED, Kind.DENIED):
                trouble, back = now, self._say_trouble(now)  # something that somebody must mend
            if not was_good and now.kind is Kind.DENIED and time.monotonic() - began > self._waits.storm_longest:
                self._many = sys.maxsize  # it may be these files alone
                return

    def _say_trouble(self, trouble: StorageError) -> str:
        """What to say when it is over."""
        if trouble.kind is Kind.AWAY:
            what, back = "the storage root is not there: waiting for it", "the storage root is back"
        else:
            what, back = "the storage cannot be read: waiting for it", "the storage can be read again"
        self._say(f"{what}; nothing is marked as failed ({trouble})")
        return back


class StormWatch:
    """Pauses reading while the storage fails for the moment, read after read: no file is at fault then.

    Readers ask after a read that failed so. From `in_a_row` failures without a success between them on, they wait here.
    One reader at a time tries again, less and less often (`Backoff`, or what the storage asked for), until a read
    succeeds. A storm that lasts longer than `Waits.storm_longest` is none: the files are taken for broken then.
    """

    def __init__(self, in_a_row: int, stop: Stop, say: Callable[[str], None], waits: Waits = WAITS) -> None:
        self._in_a_row, self._stop, self._say, self._waits = in_a_row, stop, say, waits
        self._backoff = Backoff(base_s=waits.storm, cap_s=15 * waits.storm)
        self._lock = threading.Lock()  # held by the one who waits to try again
        self._count = threading.Lock()
        self._failures = self._successes = self._good = 0  # failures and good reads: since the other kind came
        self._tries = 0  # of those who waited and tried again, one at a time, since a read succeeded
        self._since: float | None = None  # in a storm: when it began, or the last read that succeeded in it
        self._row_began = float("-inf")  # of failures, the latest one

    @property
    def lasts(self) -> bool:
        """Whether the storage fails at the moment."""
        return self._since is not None

    def passed(self, asked: float) -> None:
        """A read succeeded. The storm is over when as many have in a row as had failed at its beginning.

        `asked`: when its file was asked for, by `time.monotonic`. One that was open before reads began to fail says
        nothing: it may have waited for a share of the read-ahead, and ends in the middle of the storm.
        """
        with self._count:
            if asked < self._row_began:
                return
            self._successes += 1
            self._failures = self._tries = 0
            if self._since is None:
                return
            self._good += 1
            over = self._good >= self._in_a_row
            self._since = None if over else time.monotonic()
        if over:
            self._say("the storage can be read again")

    def wait_until_over(self, error: Unreadable) -> bool:
        """After a read that failed for the moment: True if it is worth another try, for the storage is at fault."""
        with self._count:
            if not self._failures:
                self._row_began = time.monotonic()
            self._failures += 1
            self._good = 0
            seen = self._successes
            if self._since is None and self._failures < self._in_a_row:
                return False
            first, self._since = self._since is None, self._since or time.monotonic()
            lasts = time.monotonic() - self._since
        if lasts > self._waits.storm_longest:
            return False
        if first:
            self._say(f"the storage fails, read after read: reading pauses; nothing is marked as failed ({error})")
        with self._lock:
            if self._successes == seen:  # else it is over already
                delay = max(self._waits.storm, self._backoff.delay(self._tries, error.retry_after))
                self._tries += 1
                self._stop.event.wait(delay)
        return True


def _look(storage: Storage, sample: str | None) -> None:
    """Raises `StorageError` where the root, or a file that was read before, cannot be read at the moment."""
    storage.check()
    if sample is None:
        return
    try:
        with storage.open(sample, max_bytes=1 << 62) as reading:
            reading.head()
    except Unreadable as error:
        if error.kind in (Kind.MISSING, Kind.REFUSED):  # that is this file's own fate
            return
        cure = ": who reads has no right to any file any more, give it back" if error.kind is Kind.DENIED else ""
        raise StorageError(f"{error}{cure}", error.kind, error.retry_after) from None


class _Read:
    """What one thread reads.

    Attributes:
        since: when it began, or when some of the file arrived last; as of `time.monotonic`.
        share: bytes of the read-ahead that are taken for it.
        hung_with_all: whether the storage hung as a whole meanwhile: the file is not at fault.
    """

    def __init__(self, ticket: Claim, share: int) -> None:
        self.ticket, self.share = ticket, share
        self.since = time.monotonic()
        self.hung_with_all = False


class ReadWatch:
    """Which thread reads what since when, so that a read that never ends can be given up.

    A file system call cannot be interrupted: the thread is left to its fate and another takes its place. That helps
    against a file that hangs, not against a storage that does: when nothing has answered for a while, a file that was
    read before is opened once more. If that hangs too, reads are not given up until something answers again.
    """

    def __init__(
        self,
        timeout_s: float,
        most_given_up: int,
        storage: Storage | None = None,
        say: Callable[[str], None] = lambda _: None,
        waits: Waits = WAITS,
    ) -> None:
        """`storage` is what to ask whether it hangs as a whole; without it, each read hangs alone."""
        self._timeout_s, self._most = timeout_s, most_given_up
        self._storage, self._say = storage, say
        self._silence = min(waits.silence, timeout_s / 2)
        self._lock = threading.Lock()
        self._reading: dict[threading.Thread, _Read] = {}
        self._hanging: set[threading.Thread] = set()  # given up, and not back
        self._answered = time.monotonic()  # when the storage last answered anything
        self._good: str | None = None  # the key of a file that was read
        self._question: Future[bool] | None = None
        self._asked = 0.0
        self._patience = timeout_s  # until another question is asked beside one that has no answer
        self.all_hang = False

    def begin(self, ticket: Claim, share: int = 0) -> None:
        """This thread asks the storage for something; `share` bytes of the read-ahead are taken for it."""
        with self._lock:
            self._reading[threading.current_thread()] = _Read(ticket, share)

    def progress(self) -> None:
        """Some of the file has arrived: the time begins anew."""
        with self._lock:
            if read := self._reading.get(threading.current_thread()):
                read.since = self._answered = time.monotonic()

    def end(self, *, answered: bool = True) -> bool:
        """False if the read was given up meanwhile: its result is nobody's any more.

        `answered`: whether it ended well, or at least with an error of its own, and not because nothing came.
        """
        now = time.monotonic()
        with self._lock:
            self._hanging.discard(threading.current_thread())
            read = self._reading.pop(threading.current_thread(), None)
            if answered or (read and now - read.since < self._silence):
                self._answered = now
            if answered and read:
                self._good = read.ticket.media.storage_url
            return read is not None

    def look(self) -> None:
        """Find out whether the storage hangs as a whole, and say it. Called a few times a second, by one thread."""
        if self._storage is None:
            return
        now = time.monotonic()
        if self._question and self._question.done():
            if self._question.exception() or self._question.result() or now - self._asked < self._silence:
                with self._lock:
                    self._answered = now
            self._question = None
        with self._lock:
            waiting = [read for read in self._reading.values() if now - read.since >= self._silence]
            silent = bool(waiting) and now - self._answered >= self._silence
            if self.all_hang and now - self._answered < self._silence:
                self.all_hang, self._patience = False, self._timeout_s
                for read in self._reading.values():  # their time begins anew
                    read.since, read.hung_with_all = now, True
                self._say("the storage answers again")
            key = self._good
            if key is None and len(waiting) + len(self._hanging) > 1:
                key = waiting[0].ticket.media.storage_url if waiting else None
        if not silent:
            return
        if self._question is None or now - self._asked > self._patience:
            self._patience *= 2 if self._question else 1  # each that hangs costs a thread
            self._question, self._asked = in_thread(partial(_ask, self._storage, key)), now
        elif not self.all_hang and now - self._asked >= 0.3 * self._silence:
            self.all_hang = True
            self._say(
                f"the storage gives no answer, {len(waiting)} reads wait for it: nothing is marked as failed; is the "
                "share still connected, is the server up? The run goes on when it answers; after Ctrl-C the same "
                "command does"
            )

    def give_up(self, replace: Callable[[threading.Thread], None]) -> list[_Read]:
        """Take out the reads that have lasted too long, and `replace` their threads before any of them can return.

        None while the storage hangs as a whole. Raises `StorageError` when more hang than is bearable: each costs a
        thread.
        """
        now = time.monotonic()
        with self._lock:
            if self.all_hang:
                return []
            late = [(thread, read) for thread, read in self._reading.items() if now - read.since > self._timeout_s]
            for thread, _ in late:
                del self._reading[thread]
                self._hanging.add(thread)
                replace(thread)
            if len(self._hanging) > self._most:
                raise StorageError(
                    f"{len(self._hanging)} reads got no answer from the storage within {self._timeout_s:.0f} s: is "
                    "the share still connected? The same command goes on when it is"
                )
        return [read for _, read in late]


def _ask(storage: Storage, key: str | None) -> bool:
    """Ask for something that a storage which lives answers. An error is an answer too, but not a client's timeout."""
    try:
        if key is None:
            storage.check()
        else:
            with storage.open(key, max_bytes=1 << 62) as reading:
                reading.head()
    except (StorageError, Unreadable) as error:
        return error.kind not in (Kind.TRANSIENT, Kind.AWAY)
    return True


def state_within(storage: Storage, key: str, seconds: float) -> FileState | None:
    """`known_state`, asked in a thread of its own; None where the storage does not answer within `seconds`."""
    try:
        return in_thread(partial(known_state, storage, key)).result(seconds)
    except TimeoutError:
        return None
