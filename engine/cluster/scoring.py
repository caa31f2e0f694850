"""On a node, in an actor: rows become scores. The session is that of one machine, loaded once and kept.

Blocks come from several loaders; what waits is run together, up to a batch, so that the session's batches are full
though blocks have holes where media failed.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.cluster.messages import Opened, OpenSession, Rows, Scored, plain_errors
from engine.flow.channels import Meter
from engine.model.batches import Batches
from engine.model.cache import cache_folder
from engine.model.folder import open_model
from engine.model.open import open_session
from engine.model.session import RecoveringSession, Session, SessionConfig
from engine.types import Scores


class SessionWorker:
    """The actor. `score` may be called by several threads."""

    def __init__(self, open_session: OpenSession, model: Path | None) -> None:
        """`model`: the model folder on this node."""
        self._open_session, self._model = open_session, model
        self._meter = Meter("infer")

    @plain_errors
    def open(self) -> Opened:
        """Load the model, to be called once before `score`. Raises `SessionError`, `ModelError`."""
        self._session = _Metered(self._open_session(self._model), self._meter)
        self._batches = Batches(self._session)
        of = self._session.session
        return Opened(of.batch_size, of.device, of.precision, getattr(of, "why", of.device))

    @plain_errors
    def score(self, rows: Rows) -> Scored:
        """The scores of a block's rows, which may be any number but none. Raises `SessionError`."""
        futures = [self._batches.submit(row) for row in rows]
        scores = np.stack([future.result() for future in futures])
        peak = getattr(self._session.session, "peak_vram_mb", None)
        return Scored(scores, self._meter.busy, self._meter.items, peak)


class _Metered:
    """A session whose time is taken."""

    def __init__(self, session: Session, meter: Meter) -> None:
        self.session, self._meter = session, meter
        self.batch_size, self.device, self.precision = session.batch_size, session.device, session.precision

    def run(self, pixels: Rows) -> Scores:
        with self._meter.working(items=len(pixels)):
            return self.session.run(pixels)

    def terminate(self) -> None:
        self.session.terminate()


class OpenModelSession:
    """Opens the session of a model folder: `OpenSession`."""

    def __init__(self, precision: str, config: SessionConfig) -> None:
        self._precision, self._config = precision, config

    def __call__(self, folder: Path | None) -> RecoveringSession:
        if folder is None:
            raise ValueError("a model's session needs a model folder")
        model = open_model(folder)
        config = replace(self._config, cache=cache_folder())  # this node's own
        return open_session(model, model.precision(self._precision), config)
