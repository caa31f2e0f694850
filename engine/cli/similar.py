"""`engine similar`: which pictures of a catalogue look like one."""

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from engine.cli.commands import import_function
from engine.cli.console import printable, sentences
from engine.cli.endpoints import state_file
from engine.cli.settings import load, options
from engine.config import RunConfig
from engine.errors import ConfigError
from engine.ledger.schema import LedgerView
from engine.tagger import Tagger
from engine.vectors.hash import COPY
from engine.vectors.index import Alike, VectorIndex
from engine.vectors.store import VectorError, VectorStore, vectors_of

MOST = 2_000
"""Pictures of a library of which those that are still there are shown."""


@options(RunConfig, "model", "state", "segment_url", "library", "db", "device", "precision", "json_output")
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
                look = tagger.look(picture)
            # Those that vanished from a library are passed over.
            most = MOST if settings.library else limit
            found = [] if look.features is None else VectorIndex(store).like(look.features, look.hash, most)
            keys = {number: known.storage_url for number, known in ledger.find(one.media_id for one in found).items()}
        if settings.library:
            keys = _there(settings.library, settings.db, list(keys))
        for one in [one for one in found if one.media_id in keys][:limit]:
            typer.echo(_line(one, keys[one.media_id], as_json=settings.json_output))


def _there(library: Path, db: Path | None, ids: list[int]) -> dict[int, str]:
    """Where the pictures of a library lie, as far as they are there."""
    present = import_function("service.libraries", "present", "service")
    default_path = import_function("service.database", "default_path", "service")
    return cast(dict[int, str], present(db or default_path(library), ids))


def _line(one: Alike, key: str, *, as_json: bool) -> str:
    copy = one.bits <= COPY
    if as_json:
        entry = {"id": one.media_id, "storageUrl": key, "likeness": one.likeness, "copy": copy}
        return json.dumps(entry, ensure_ascii=False)
    return f"{one.likeness:6.3f}  {one.media_id}  {printable(key)}{'  (a copy)' if copy else ''}"
