"""Editing over HTTP: `POST /edits` and its undo, for programs with the token; under /page/ the same for the page."""

from typing import Annotated, Literal

from fastapi import APIRouter, Security
from fastapi.exceptions import HTTPException
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field, StrictInt, StringConstraints, model_validator

from service.guard import PAGE
from service.search.find import MistakenQuery, Search
from service.search.query import MAX_LENGTH
from service.threads import own_threads
from service.verdicts import MAX_TAGS, Edited, EditError, Verdicts

_THREADS = 4
_PATIENCE = 30.0
_ID = 2**63 - 1

_Tags = Annotated[list[Annotated[str, StringConstraints(max_length=500)]], Field(max_length=MAX_TAGS)]
_Who = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class EditRequest(BaseModel):
    """What is said of which pictures: those of `pictures`, or all that a `query` finds."""

    pictures: Annotated[list[Annotated[StrictInt, Field(ge=0, le=_ID)]] | None, Field(max_length=100_000)] = Field(
        None, description="ids", examples=[[1, 7]]
    )
    query: Annotated[str, StringConstraints(max_length=MAX_LENGTH)] | None = Field(
        None, description="all that this search finds", examples=["cat -dog"]
    )
    yes: _Tags = Field([], description="tags that they have", examples=[["cat_ears"]])
    no: _Tags = Field([], description="tags that they do not have")
    clear: _Tags = Field([], description="tags of which nothing is to be said any more: the models' opinions count")
    who: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        "somebody", description="for the journal"
    )
    dryRun: bool = Field(False, description="change nothing, tell what would change")
    lang: Annotated[str, StringConstraints(max_length=35)] = "en"

    @model_validator(mode="after")
    def one_of_both(self) -> "EditRequest":
        if (self.pictures is None) == (self.query is None):
            raise ValueError("give either pictures or a query")
        if self.query is not None and not self.query.strip():
            raise ValueError("an empty query finds every picture of the library: where that is meant, write `id:0..`")
        return self


class EditAnswer(BaseModel):
    id: int | None = Field(description="of the journal's entry; null where nothing changed, or by dryRun")
    pictures: int = Field(description="how many were asked for and are known")
    unknown: list[int] = Field(description="ids that no picture has")
    changed: dict[str, int] = Field(description="by tag, of how many pictures what is said became another")
    left: int = Field(description="of an undo: what was changed again since, and was left")


class UndoRequest(BaseModel):
    who: _Who = "somebody"


class Change(BaseModel):
    tag: str
    yes: int = Field(description="of so many pictures it was said that they have it")
    no: int = Field(description="that they do not")
    clear: int = Field(description="nothing any more")


class Entry(BaseModel):
    id: int
    at: int = Field(description="ms since 1970")
    who: str
    what: str
    undoes: int | None
    undone_by: int | None
    pictures: int
    kind: Literal["edit", "review", "undo", "redo"] = Field(description="redo: the undo of an undo")
    changes: list[Change]


class Journal(BaseModel):
    entries: list[Entry] = Field(description="newest first; ask for those before the last one's id")


def edits(verdicts: Verdicts, search: Search) -> APIRouter:
    """The routes for programs."""
    api = APIRouter(
        tags=["editing"],
        dependencies=[Security(HTTPBearer(auto_error=False))],
        route_class=own_threads(_THREADS, _PATIENCE),
    )
    _add(api, "", verdicts, search)
    return api


def page_edits(verdicts: Verdicts, search: Search) -> APIRouter:
    """The same for the page; not in the OpenAPI document."""
    api = APIRouter(include_in_schema=False, route_class=own_threads(_THREADS, _PATIENCE))
    _add(api, PAGE.rstrip("/"), verdicts, search)
    return api


def _add(api: APIRouter, prefix: str, verdicts: Verdicts, search: Search) -> None:
    @api.post(f"{prefix}/edits", responses={422: {"description": "what cannot be said, or neither pictures nor query"}})
    def edit(request: EditRequest) -> EditAnswer:
        """Says of many pictures at once that they have tags, or not. What people say stands before what models say."""
        try:
            media_ids = request.pictures if request.query is None else search.ids(request.query, request.lang)
            done = verdicts.edit(
                media_ids or [],
                who=request.who,
                yes=request.yes,
                no=request.no,
                clear=request.clear,
                dry_run=request.dryRun,
            )
        except (EditError, MistakenQuery) as error:
            raise HTTPException(422, str(error)) from None
        return _answer(done)

    @api.post(f"{prefix}/edits/{{edit_id}}/undo", responses={409: {"description": "no such edit, or undone already"}})
    def undo(edit_id: int, request: UndoRequest) -> EditAnswer:
        """Puts back what an edit changed; what was changed again since is left, and counted."""
        try:
            return _answer(verdicts.undo(min(edit_id, _ID), who=request.who))
        except EditError as error:
            raise HTTPException(409, str(error)) from None

    @api.get(f"{prefix}/edits")
    def journal(before: int | None = None, limit: Annotated[int, Field(ge=1, le=200)] = 50) -> Journal:
        """What people changed, newest first."""
        return Journal(entries=[Entry(**one) for one in verdicts.journal(before=before, limit=limit)])


def _answer(done: Edited) -> EditAnswer:
    return EditAnswer(
        id=done.id, pictures=done.pictures, unknown=list(done.unknown), changed=done.changed, left=done.left
    )
