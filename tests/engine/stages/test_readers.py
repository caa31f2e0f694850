"""How many files are read at once: the rule with a clock of its own, and a storage that is slow in a real run."""

import threading
import time
from pathlib import Path

import pytest

from engine.errors import Kind, Unreadable
from engine.ledger.ledger import Ledger
from engine.stages.readers import FEWEST, FIRST, MOST, Readers
from tests.support.pipelines import Catalogue, Wrapped, build, draw


class Bench:
    """A storage that gives each reader 50 files/s, up to `most` files/s in all; decoders that can take `decoded`."""

    def __init__(self, most: float, decoded: float = 1e9) -> None:
        self.now = 0.0
        self.most, self.decoded = most, decoded
        self.readers = Readers(lambda: self.now)

    def run(self, seconds: float, failures: int = 0) -> list[int]:
        """The numbers of each window."""
        numbers = []
        until = self.now + seconds
        while self.now < until:
            began = self.now
            for _ in range(failures):
                self.readers.failed()
            rate = min(50.0 * self.readers.number, self.most, self.decoded)
            while not self.readers.window_is_over:
                self.now += 1 / rate
                self.readers.read(100_000)
            assert self.now - began <= 5
            starved = 0.0 if rate == self.decoded else 0.5
            numbers.append(self.readers.adapt(starved=starved, idle=0.0))
        return numbers


def test_one_more_at_a_time_while_it_pays() -> None:
    numbers = Bench(most=1e9).run(30)
    steps = {new - old for old, new in zip([FIRST, *numbers], numbers, strict=False)}
    assert steps == {0, 1} and numbers[-1] == max(numbers) == MOST
    assert Bench(most=1e9).run(1.5)[-1] >= FIRST + 4


def test_it_stays_where_the_storage_gives_no_more() -> None:
    bench = Bench(most=1000.0)  # 20 readers
    bench.run(30)
    assert all(19 <= number <= 22 for number in bench.run(100))


def test_it_stays_where_the_decoders_have_enough() -> None:
    assert set(Bench(most=1e9, decoded=300.0).run(30)) == {FIRST}


def test_readers_without_work_are_not_made_more() -> None:
    now = [0.0]
    readers = Readers(lambda: now[0])
    for _ in range(20):
        now[0] += 4.0
        readers.read(1)
        assert readers.adapt(starved=1.0, idle=0.5) == FIRST


def test_half_on_trouble_and_slowly_back() -> None:
    bench = Bench(most=1e9)
    top = bench.run(5)[-1]
    [half, *_] = bench.run(0.1, failures=top)
    assert half == top // 2
    rest = bench.run(7)
    assert set(rest) == {half}  # a while of rest
    assert bench.run(5)[-1] > half
    assert bench.run(30, failures=1000)[-1] == FEWEST
    assert bench.run(60)[-1] > FIRST


def test_one_trouble_halves_once_though_many_reads_saw_it() -> None:
    bench = Bench(most=1e9)
    bench.run(5)
    before = bench.readers.number
    bench.run(0.01, failures=before)
    assert not bench.readers.window_is_over
    bench.readers.failed()
    bench.now += 0.9
    assert not bench.readers.window_is_over and bench.readers.number == before // 2


def test_a_file_that_cannot_be_read_is_no_trouble() -> None:
    bench = Bench(most=1e9, decoded=300.0)
    assert set(bench.run(10, failures=1)) == {FIRST}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    for i in range(8):
        draw(folder / f"{i}.png", i)
    return folder


class Latency(Wrapped):
    """Each file takes a while; counts how many are waited for at once."""

    def __init__(self, root: Path, seconds: float) -> None:
        self.now = self.most = 0
        self._lock, self._seconds = threading.Lock(), seconds
        super().__init__(root, self._wait)

    def open(self, key: str, *, max_bytes: int):
        return super().open(f"{int(key) % 8}.png", max_bytes=max_bytes)

    def _wait(self, _: str) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self._seconds)
        with self._lock:
            self.now -= 1


def test_a_slow_storage_gets_more_readers(library: Path, tmp_path: Path) -> None:
    storage = Latency(library, 0.04)
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue([str(i) for i in range(1000)]), storage, ledger, segment_size=1000)
        pipeline.run()
    reading = next(meter for meter in pipeline.meters if meter.name == "read")
    assert pipeline.tally.images == 1000
    assert FIRST < storage.most <= MOST and FIRST < reading.threads <= MOST


def test_a_number_that_is_given_stays(library: Path, tmp_path: Path) -> None:
    storage = Latency(library, 0.01)
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue([str(i) for i in range(300)]), storage, ledger, segment_size=300, read_threads=3)
        pipeline.run()
    reading = next(meter for meter in pipeline.meters if meter.name == "read")
    assert storage.most == reading.threads == 3 and not reading.adapts


def test_a_storage_that_says_slow_down_gets_fewer(library: Path, tmp_path: Path) -> None:
    """It bears four at once, and refuses the rest; no storm, for the four succeed."""

    class Busy(Latency):
        def _wait(self, key: str) -> None:
            with self._lock:
                if self.now >= 4:
                    self.refused += 1
                    raise Unreadable("503 SlowDown", Kind.TRANSIENT)
            super()._wait(key)

        refused = 0

    storage = Busy(library, 0.01)
    with Ledger(tmp_path / "s.db") as ledger:
        pipeline = build(Catalogue([str(i) for i in range(400)]), storage, ledger, segment_size=400, max_failures=None)
        pipeline.run()
    reading = next(meter for meter in pipeline.meters if meter.name == "read")
    assert storage.refused and reading.threads <= 4 and reading.setbacks >= storage.refused
