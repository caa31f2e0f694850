"""Where a run's media come from and its tags go: services named by the user, or the embedded one; and its ledger."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import platformdirs

from engine.api.addresses import ApiConfig
from engine.api.answers import shown_url
from engine.api.token import Token
from engine.cli.commands import import_function
from engine.cli.console import say
from engine.cli.settings import api_token
from engine.config import RunConfig
from engine.errors import ConfigError
from engine.fingerprint import LIBRARY
from engine.storage import Access

APP = "deepdanbooru-engine"
RESCAN_SECONDS = 60.0
"""Between two looks of the embedded service for new pictures, in a run that does not follow."""


@dataclass(frozen=True)
class Endpoints:
    """Where media come from and tags go to.

    Attributes:
        service: names the catalogue whose media a ledger speaks of.
        formerly: how its name began in ledgers of older engines, where that was another one.
        on_change: takes what is to be called, by another thread, when the catalogue has changed; a service elsewhere
            never calls it.
    """

    service: str
    api: ApiConfig
    token: Token
    storage: str
    state: Path
    formerly: str | None = None
    on_change: Callable[[Callable[[], None]], None] = lambda _: None

    def access(self, timeout_s: float) -> Access:
        """How the storage is reached; the API's token is for the API's own origin."""
        return Access(timeout_s, self.api.ca_file, self.token, self.api.segment_url)


@contextmanager
def endpoints(settings: RunConfig) -> Iterator[Endpoints]:
    """The media API and the storage: those named, or the embedded service for a folder."""
    if settings.db and not settings.library:
        raise ConfigError("--db is the database of a library: it needs --library FOLDER")
    with ExitStack() as stack:
        where = _embedded(settings, stack) if settings.library else named_endpoints(settings)
        if settings.dry_run:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="engine-")))
            where = replace(where, state=folder / "ledger.db")
        yield where


def default_state(key: str) -> Path:
    """The ledger's file in the user's data folder; one for each catalogue."""
    return (
        platformdirs.user_data_path(APP, appauthor=False) / f"ledger-{hashlib.sha256(key.encode()).hexdigest()[:12]}.db"
    )


def state_file(settings: RunConfig) -> Path:
    """Where the ledger of these settings lies, without starting anything."""
    if settings.state:
        return settings.state
    if settings.library:
        default_path = import_function("service.database", "default_path", "service")
        return library_state(settings.db or default_path(settings.library))
    if settings.segment_url:
        return default_state(settings.segment_url)
    raise ConfigError("which ledger? Give --state FILE, --segment-url URL or --library FOLDER, as in the run")


def library_state(db: Path) -> Path:
    """A library's ledger lies beside the library's own database."""
    return db.with_suffix(".ledger.db")


def named_endpoints(settings: RunConfig, *, storage_needed: bool = True) -> Endpoints:
    """The API, storage and state that the settings name. Raises `ConfigError` for what is missing."""
    missing = [
        flag
        for flag, value in (("--segment-url", settings.segment_url), ("--storage", settings.storage))
        if storage_needed and not value
    ]
    post_url = settings.recognition_replace_url or settings.recognition_bulk_url or settings.recognition_url
    if not post_url:
        missing.append("--recognition-url, --recognition-bulk-url or --recognition-replace-url")
    if missing or not post_url:
        raise ConfigError(f"{', '.join(missing)} missing; or give --library FOLDER to do without a media service")
    segment = settings.segment_url or post_url
    api = _api(
        settings,
        segment,
        settings.recognition_url or "",
        settings.recognition_bulk_url,
        settings.recognition_replace_url,
    )
    token = api_token(settings.token_file)
    return Endpoints(shown_url(segment), api, token, settings.storage or "", state_file(settings))


def _embedded(settings: RunConfig, stack: ExitStack) -> Endpoints:
    service = import_function("service.embedded", "embedded", "service")
    try:
        rescan = settings.follow or RESCAN_SECONDS
        running = stack.enter_context(service(settings.library, db=settings.db, model=settings.model, rescan=rescan))
    except Exception as error:
        if isinstance(error, cast(type[Exception], import_function("service.errors", "ServiceError", "service"))):
            raise ConfigError(str(error)) from None
        raise
    say(f"{running.pictures:,} pictures; look at them while it works: {running.url}")
    return library_endpoints(settings, running)


def library_endpoints(settings: RunConfig, running: Any) -> Endpoints:  # noqa: ANN401 - the service's type
    """Those of an embedded service that runs (`service.embedded.Running`)."""
    if settings.segment_url or settings.storage:
        raise ConfigError("--library brings its own media API and storage: leave --segment-url and --storage out")
    api = _api(
        settings,
        running.segment_url,
        running.recognition_url,
        running.recognition_bulk_url,
        running.recognition_replace_url,
    )
    # Before libraries had an identity, their ledgers named the folder. A ledger beside the database is the library's
    # own, wherever the folder lies now.
    formerly = "the library " if settings.state is None else f"the library {cast(Path, settings.library).resolve()}"
    return Endpoints(
        f"{LIBRARY}{running.identity}",
        api,
        Token(running.token),
        str(settings.library),
        settings.state or library_state(running.db),
        formerly,
        running.on_change,
    )


def _api(settings: RunConfig, segment: str, single: str, bulk: str | None, replace: str | None) -> ApiConfig:
    return ApiConfig(
        segment_url=segment,
        recognition_url=single,
        recognition_bulk_url=bulk,
        recognition_replace_url=replace,
        timeout_s=settings.timeout,
        connections=settings.connections,
        ok_codes=settings.ok_codes,
        ca_file=settings.ca_file,
        give_up_after_s=settings.give_up_after,
        segment_size=settings.segment_size,
    )
