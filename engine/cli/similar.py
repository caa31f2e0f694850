"""`engine similar`: which pictures of a catalogue look like one."""

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from engine.api.addresses import ApiConfig
from engine.api.client import MediaApi
from engine.cli.commands import import_function
from engine.cli.console import printable, say, sentences
from engine.cli.endpoints import state_file
from engine.cli.settings import api_token, load, options
from engine.config import RunConfig
from engine.errors import ApiError, ConfigError, MediumError
from engine.ledger.schema import LedgerView
from engine.tagger import Look, Tagger
from engine.vectors.hash import COPY
from engine.vectors.index import Alike, VectorIndex
from engine.vectors.store import VectorError, VectorStore, vectors_of

MOST = 2_000
"""Pictures of which those that are still there are shown."""
PATIENCE = 3.0
"""Seconds for which a service that gives no useful answer is asked which pictures are still there."""
FLAGS = (
    "model", "state", "segment_url", "library", "db", "token_file", "ca_file", "timeout", "ok_codes", "device",
    "precision", "json_output",
)  # fmt: skip


@options(RunConfig, *FLAGS)
def similar(
    picture: Annotated[Path, typer.Argument(help="The picture to compare with.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many to show.")] = 10,
    config: Annotated[Path | None, typer.Option(help="A settings file; engine.toml here by default.")] = None,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        settings = load(RunConfig, flags, config)
        if settings.model is None:
            raise ConfigError("--model is missing: the folder of the model that tagged the catalogue")
        state = state_file(settings)
        with LedgerView(state) as ledger, closing(VectorStore(vectors_of(state))) as store:
            with Tagger(settings.model, features=True, device=settings.device, precision=settings.precision) as tagger:
                if tagger.model.sha256 != store.of.sha256:
                    raise VectorError(
                        f"the catalogue's vectors are of {store.of.name}, not of {tagger.model.project}: "
                        "give the model that tagged it, or tag it with this one (`engine retag`)"
                    )
                look = _look(tagger, picture)
            most = MOST if settings.library or settings.segment_url else limit  # those that vanished are passed over
            found = [] if look.features is None else VectorIndex(store).like(look.features, look.hash, most)
            keys = {number: known.storage_url for number, known in ledger.find(one.media_id for one in found).items()}
        if settings.library:
            keys = _there(settings.library, settings.db, list(keys))
        elif settings.segment_url:
            closest = {one.media_id: keys[one.media_id] for one in found if one.media_id in keys}
            keys = _listed(settings, settings.segment_url, closest, limit)
        for one in [one for one in found if one.media_id in keys][:limit]:
            typer.echo(_line(one, keys[one.media_id], as_json=settings.json_output))


def _look(tagger: Tagger, picture: Path) -> Look:
    """Raises `ConfigError` for what is no picture that can be read."""
    if not picture.is_file():  # a pipe would be waited for
        raise ConfigError(f"{printable(str(picture))} is no file: give a picture")
    try:
        return tagger.look(picture)
    except MediumError as error:
        raise ConfigError(f"{printable(str(picture))}: {error}") from None


def _there(library: Path, db: Path | None, ids: list[int]) -> dict[int, str]:
    """Where the pictures of a library lie, as far as they are there."""
    present = import_function("service.libraries", "present", "service")
    default_path = import_function("service.database", "default_path", "service")
    return cast(dict[int, str], present(db or default_path(library), ids))


def _listed(settings: RunConfig, url: str, keys: Mapping[int, str], limit: int) -> dict[int, str]:
    """The first `limit` of these media that the service still lists, and where they lie now.

    All of them, with a warning, where it cannot be asked.
    """
    config = ApiConfig(
        url,
        url,
        timeout_s=settings.timeout,
        ca_file=settings.ca_file,
        ok_codes=settings.ok_codes,
        give_up_after_s=PATIENCE,
    )
    api = MediaApi(config, api_token(settings.token_file))
    there: dict[int, str] = {}
    try:
        for number in keys:
            listed = [media for media in api.segment(number, 1) if media.id == number]
            there |= {media.id: media.storage_url for media in listed}
            if len(there) == limit:
                break
    except ApiError as error:
        say(f"warning: {error}; so pictures that were deleted may be among these")
        return dict(keys)
    finally:
        api.close()
    return there


def _line(one: Alike, key: str, *, as_json: bool) -> str:
    copy = one.bits <= COPY
    if as_json:
        entry = {"id": one.media_id, "storageUrl": key, "likeness": one.likeness, "copy": copy}
        return json.dumps(entry, ensure_ascii=False)
    return f"{one.likeness:6.3f}  {one.media_id}  {printable(key)}{'  (a copy)' if copy else ''}"
