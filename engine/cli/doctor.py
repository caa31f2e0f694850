"""`engine doctor`: what a long run will need, checked before it, each failure with its cure."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.access import warnings
from engine.cli.console import FATAL, OK, sentences
from engine.cli.place import Place, place
from engine.cli.settings import load, options
from engine.client import MediaApi
from engine.config import RunConfig
from engine.errors import ConfigError, EngineError, MediumError, StorageError
from engine.flow import Stop
from engine.ledger import Ledger
from engine.model import open_model
from engine.session import open_session, session_config
from engine.storage import open_storage

SAMPLE = 20
"""Media asked for and read: enough to see that storage and catalogue belong together."""


def register(app: typer.Typer) -> None:
    app.command(help="Check model, device, storage, API and token before a long run.")(doctor)


@options(RunConfig)
def doctor(
    config: Annotated[Path | None, typer.Option(help="A settings file; engine.toml here by default.")] = None,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        settings = load(RunConfig, flags, config)
        # One patient look, not a wait: a check that hangs says nothing.
        settings = settings.model_copy(update={"give_up_after": settings.give_up_after or 10.0})
        with place(settings) as where:
            checks = {
                "model and device": lambda: _model(settings),
                "storage": lambda: _storage(where),
                "media API and token": lambda: _api(where),
                "state": lambda: _state(where),
            }
            good = [_check(name, check) for name, check in checks.items()]
        raise typer.Exit(OK if all(good) else FATAL)


def _check(name: str, check: Callable[[], str]) -> bool:
    try:
        typer.echo(f"ok    {name}: {check()}")
    except (EngineError, MediumError) as error:
        typer.echo(f"FAIL  {name}: {error}")
        return False
    return True


def _model(settings: RunConfig) -> str:
    if settings.model is None:
        raise ConfigError("--model is missing: the folder that `engine convert` wrote")
    model = open_model(settings.model)
    session = open_session(model, model.precision(settings.precision), session_config(settings))
    return f"{model.project}, {len(model.tags):,} tags, {session.precision} on {session.why}"


def _storage(where: Place) -> str:
    if not open_storage(where.storage).root_alive():
        raise StorageError(f"the storage root {where.storage} is not there: mount it")
    return f"{where.storage} is there"


def _api(where: Place) -> str:
    api = MediaApi(where.api, where.token, Stop())
    try:
        page = api.segment(0, SAMPLE)
    finally:
        api.close()
    said = "; ".join(["", *warnings(where.api, where.token)])
    if not page:
        return f"answers, and lists no media{said}"
    storage = open_storage(where.storage)
    for media in page:
        storage.read(media.storage_url, max_bytes=1 << 30)
    return f"answers; the first {len(page)} media can be read from the storage (posting is not tried){said}"


def _state(where: Place) -> str:
    with Ledger(where.state) as ledger:
        counts = ledger.counts()
    return f"{where.state}: " + (", ".join(f"{n:,} {o.value}" for o, n in counts.items() if n) or "empty")
