"""`engine serve`: the service's own command, and what the engine brings to it.

That is what `--tag` does, the run of `engine run --library --follow`, and what answers `POST /tag`.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from engine.cli.commands import import_function
from engine.cli.console import OK, say
from engine.cli.endpoints import library_endpoints
from engine.cli.log import start_logging
from engine.cli.run import exit_code, tag_catalogue
from engine.cli.settings import load
from engine.config import RunConfig
from engine.model.folder import open_model
from engine.tagger import Look, Settings, Tagger, Tags

FOLLOW_SECONDS = 60.0
"""Between two looks for new media, where the service itself never looks again."""


def main(argv: list[str]) -> int:
    """Run `engine serve` with these arguments; the exit code."""
    service = import_function("service.cli", "Engine", "service")
    return int(import_function("service.cli", "serve_main", "service")(argv, service(tag=tag, tagger=tagger)))


@contextmanager
def tagger(model: Path) -> Iterator["LateTagger"]:
    """What tags single pictures; its settings come from the environment and engine.toml, as those of `--tag`."""
    late = LateTagger(load(RunConfig, {"model": model}, None))
    try:
        yield late
    finally:
        late.close()


class LateTagger:
    """A `Tagger` that is made when the first picture comes: who only looks at the page needs no model in memory."""

    def __init__(self, settings: RunConfig) -> None:
        self.max_file_size = settings.max_file_size
        self._settings = settings
        self._lock = threading.Lock()
        self._tagger: Tagger | None = None

    def tag(self, picture: bytes) -> Tags:
        """As `Tagger.tag`; the first call may raise what making one raises, and then the next call tries again."""
        return self._made().tag(picture)

    def look(self, picture: bytes) -> Look:
        """As `Tagger.look`, with features where the model gives them; raises as `tag`."""
        return self._made().look(picture)

    def _made(self) -> Tagger:
        with self._lock:
            if self._tagger is None:
                model = self._settings.model or Path()
                named = self._settings.model_dump(include=set(Settings.__annotations__))
                named["features"] = open_model(model).features is not None
                self._tagger = Tagger(model, **cast(Settings, named))
            return self._tagger

    def close(self) -> None:
        """Tag what waits, then end."""
        if self._tagger:
            self._tagger.close()


def tag(running: Any, *, library: Path, model: Path, every: float, verbose: bool) -> int:  # noqa: ANN401 - service's type
    """Tag what a running service lists, and what comes, until Ctrl-C; the exit code, 0 if it was told to end.

    All other settings come from the environment and engine.toml.
    """
    settings = load(RunConfig, {"library": library, "model": model, "verbose": verbose}, None)
    settings = settings.model_copy(
        update={
            "follow": settings.follow or every or FOLLOW_SECONDS,
            "quiet": settings.quiet or not sys.stderr.isatty(),  # a service's log wants no line every ten seconds
        }
    )
    start_logging(settings)
    summary = tag_catalogue(settings, open_model(model), library_endpoints(settings, running))
    for line in summary.lines():
        say(line)
    return OK if summary.interrupted else exit_code(summary.ledger, summary.refused_records)
