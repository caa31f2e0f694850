"""Compares settings by alternating runs (A B C, C B A, ...), so that other load on the machine hits all alike."""

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

from engine.cli.no_ledger import NoLedger
from engine.cli.tag import LocalFiles
from engine.config import RunConfig
from engine.errors import EngineError, SessionError
from engine.families import family_of
from engine.flow.channels import Stop
from engine.model.folder import Model
from engine.model.open import open_session, session_config
from engine.model.runners import Pixels
from engine.model.sample import sample_pixels
from engine.model.session import RecoveringSession
from engine.pipeline import Parts, Pipeline
from engine.stages.source import FileList

Settings = Mapping[str, Any]
"""Values of RunConfig's fields."""

MARGIN = 0.05
"""A setting must be so much faster than the default to be taken: below that it may as well be chance."""
PICTURES = 6
SIDES = 1200, 1800  # of a rendered picture: 2.2 MP, as catalogues have them


@dataclass
class Trial:
    """One setting in a race.

    `rates`: images/s, round by round; None in it where it did not run. `why`: what kept it from running, if that was
    said.
    """

    settings: Settings
    rates: list[float | None] = field(default_factory=list)
    why: str = ""
    vram_mb: float | None = None

    @property
    def rate(self) -> float | None:
        """The median; None if it ever did not fit."""
        rates = [rate for rate in self.rates if rate is not None]
        return statistics.median(rates) if len(rates) == len(self.rates) else None

    def gain(self, first: "Trial") -> float:
        """How many times as fast as `first`: the median over the rounds, 0 if it did not fit."""
        if self.rate is None or first.rate is None:
            return 0.0
        return statistics.median(
            (mine or 0) / (other or 1) for mine, other in zip(self.rates, first.rates, strict=True)
        )


def race(
    candidates: Sequence[Settings],
    measure: Callable[[Trial], float | None],
    rounds: int,
    step: Callable[[], None] = lambda: None,
) -> list[Trial]:
    """Measure all candidates `rounds` times, in turns and there and back. The first is the default.

    `step` is called after each measurement.
    """
    trials = [Trial(settings) for settings in candidates]
    for turn in range(rounds):
        for trial in trials if turn % 2 == 0 else reversed(trials):
            trial.rates.append(measure(trial))
            step()
    return trials


def winner(trials: Sequence[Trial]) -> Trial:
    """The fastest if it beats the default, the first, by more than `MARGIN`; else the default, if that fitted."""
    if trials[0].rate is None:
        return max(trials, key=lambda trial: trial.rate or 0.0)
    best = max(trials, key=lambda trial: trial.gain(trials[0]))
    return best if best.gain(trials[0]) > 1 + MARGIN else trials[0]


class Measurer:
    """Measures a model under settings, on one machine."""

    def __init__(self, model: Model, base: RunConfig, seconds: float) -> None:
        """`seconds`: about how long one measurement takes."""
        self._model, self._base, self._seconds = model, base, seconds

    def open(self, settings: Settings) -> RecoveringSession:
        chosen = self._base.model_copy(update=dict(settings))
        return open_session(self._model, self._model.precision(chosen.precision), session_config(chosen))

    def model_alone(self, trial: Trial) -> float | None:
        """Images/s of the session on pixels that are there already, fed by as many threads as `submitters` says."""
        try:
            session = self.open(trial.settings)
            rate = _feed(session, self._pixels(session), trial.settings.get("submitters", 1), self._seconds)
        except SessionError as error:
            trial.why = str(error)
            return None
        trial.vram_mb = session.peak_vram_mb
        wanted = trial.settings.get("batch_size")
        return rate if wanted in (None, session.batch_size) else None

    def end_to_end(self, trial: Trial, files: Sequence[str]) -> float:
        """Images/s from files to records, as in `engine run`, but with nothing kept and nothing posted."""
        session = self.open(trial.settings)
        rate = _feed(session, self._pixels(session), 1, 0)
        count = max(3 * session.batch_size, int(rate * self._seconds))
        chosen = self._base.model_copy(update={**trial.settings, "limit": None, "segment_start": 0})
        stop, family = Stop(), family_of(self._model.preprocessing)
        parts = Parts(
            catalogue=FileList(list(itertools.islice(itertools.cycle(files), count))),
            storage=LocalFiles(),
            family=family,
            select=family.selection(self._model.tags, self._model.categories, 0.5),
            session=session,
            books=NoLedger(),
        )
        pipeline = Pipeline(parts, chosen, stop)
        began = time.perf_counter()
        pipeline.run()
        seconds = time.perf_counter() - began
        if not pipeline.tally.images:
            raise EngineError(
                f"none of the pictures can be decoded, the first is {files[0]}: give others with --pictures"
            )
        return pipeline.tally.images / seconds

    def _pixels(self, session: RecoveringSession) -> Pixels:
        shape = self._model.preprocessing
        return sample_pixels(session.batch_size, shape.height, shape.width, session.dtype)


def _feed(session: RecoveringSession, pixels: Pixels, submitters: int, seconds: float) -> float:
    """Images/s over at least one batch a submitter, after one that warms up."""
    session.run(pixels)
    errors: list[BaseException] = []
    batches = [0] * submitters
    began = time.perf_counter()

    def submit(number: int) -> None:
        try:
            while not batches[number] or time.perf_counter() - began < seconds:
                session.run(pixels)
                batches[number] += 1
        except SessionError as error:
            errors.append(error)

    threads = [threading.Thread(target=submit, args=(number,), daemon=True) for number in range(submitters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(batches) * len(pixels) / (time.perf_counter() - began)


@contextmanager
def rendered_pictures() -> Iterator[list[str]]:
    """JPEG files of noise that decode about as slowly as drawings of their size do."""
    noise = np.random.default_rng(0)
    with TemporaryDirectory(prefix="engine-tune-") as folder:
        files = []
        for number in range(PICTURES):
            coarse = noise.integers(0, 256, (SIDES[1] // 30, SIDES[0] // 30, 3), np.uint8)
            picture = cv2.resize(coarse, SIDES, interpolation=cv2.INTER_CUBIC)
            file = Path(folder) / f"{number}.jpg"
            file.write_bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
            files.append(str(file))
        yield files
