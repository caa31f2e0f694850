"""The dictionary over HTTP: `/tags/...` for programs with the token, `/page/tags/...` the same for the page.

What changes something is one entry of the dictionary's journal. A concept's answer has an ETag; a change that names it
in If-Match is refused with 412 if somebody changed the concept in between.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Header, Query, Request, Response, Security
from fastapi.exceptions import HTTPException
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field, StringConstraints
from starlette.requests import ClientDisconnect

from service.dictionary import Concept as Kept
from service.dictionary import ConflictError, Dictionary, DictionaryError, Name, UnknownError
from service.guard import PAGE, TAGS
from service.threads import own_threads

T = TypeVar("T")
_THREADS = 4
_PATIENCE = 30.0
IMPORT = "/import"
MAX_IMPORT = 64 * 1024 * 1024
"""Bytes of a file that is imported over HTTP; larger ones by `engine tags import`."""

_Text = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
_Key = Annotated[str, Query(min_length=1, max_length=2_000, description="the concept's key, or a former one")]
_Language = Annotated[str, Query(alias="lang", max_length=35, description="BCP 47: of the names that are shown")]
_Who = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_IfMatch = Annotated[str | None, Header(alias="If-Match", description="the ETag that the change is made upon")]


class FoundConcept(BaseModel):
    concept: str = Field(description="its English key", examples=["kantai_collection"])
    name: str = Field(description="in the language that was asked for", examples=["舰队收藏"])
    via: str = Field(description="the name by which it was found", examples=["舰娘"])
    how: str = Field(description="key, name, prefix, word, romaji, pinyin, initials or typo")


class LookedUp(BaseModel):
    query: str
    found: list[FoundConcept] = Field(description="all of them where the name is ambiguous, the likeliest first")
    near: list[FoundConcept] = Field(description="near misses, only where nothing was found")


class NameOf(BaseModel):
    text: str
    lang: str = Field("", description="BCP 47; empty for none", examples=["zh-Hans"])
    kind: str = Field("synonym", description="display, synonym, abbreviation, former key, community key")
    source: str = ""
    weight: float = 1.0


class Concept(BaseModel):
    key: str
    category: str
    names: list[NameOf]
    implies: list[str] = Field(description="keys of broader concepts")
    groups: list[str] = Field(description="paths for browsing", examples=[["hair/length"]])
    weights: dict[str, float]
    count: int
    hidden: bool
    revision: int = Field(description="the journal's entry that changed it last; the ETag")
    keys: list[str] = Field(description="what models call it, its own key first")


class Concepts(BaseModel):
    concepts: list[Concept]
    after: str | None = Field(description="ask on with this; null at the end")


class GroupOf(BaseModel):
    path: str
    names: dict[str, str]


class Groups(BaseModel):
    groups: list[GroupOf]


class Edit(BaseModel):
    """One change of one concept."""

    key: _Text
    do: Literal["add", "rename", "remove name", "category", "relate", "group", "weigh", "hide"]
    name: _Text | None = Field(None, description="for rename and remove name")
    lang: Annotated[str, StringConstraints(max_length=35)] | None = Field(
        None, description="for rename: of which language the shown name is; without it the key is renamed"
    )
    category: str | None = Field(None, description="for add and category")
    names: list[NameOf] = Field([], description="for add", max_length=500)
    implies: list[_Text] = Field([], description="for add", max_length=100)
    groups: list[_Text] = Field([], description="for add", max_length=100)
    broader: _Text | None = Field(None, description="for relate")
    path: _Text | None = Field(None, description="for group")
    weight: str | None = Field(None, description="for weigh: rank, importance or favourite")
    value: float | None = Field(None, description="for weigh; null takes it back")
    remove: bool = Field(False, description="for relate, group and hide: take it back")
    who: _Who = "somebody"


class Merge(BaseModel):
    source: _Text
    into: _Text
    who: _Who = "somebody"
    dryRun: bool = Field(False, description="tell both concepts, merge nothing")


class Merged(BaseModel):
    source: Concept | None = Field(description="as it is before; only by dryRun")
    into: Concept
    dryRun: bool


class Split(BaseModel):
    key: _Text
    names: list[_Text] = Field(min_length=1, max_length=500, description="the names that the new concept takes")
    newKey: _Text
    who: _Who = "somebody"


class Imported(BaseModel):
    entry: int | None = Field(description="of the journal; null if nothing changed, or by dryRun")
    counts: dict[str, int] = Field(description="new, changed, unchanged, conflicting, ambiguous, skipped")
    lines: dict[str, list[str]] = Field(description="the first of each kind, with place and reason")


class EntryOf(BaseModel):
    id: int
    at: str
    who: str
    action: str
    summary: str
    undone_by: int | None
    keys: list[str] = Field(description="of the first concepts that it changed, as they were then")
    concepts: int = Field(description="how many these are in all")


class Journal(BaseModel):
    entries: list[EntryOf] = Field(description="newest first")


class Undo(BaseModel):
    who: _Who = "somebody"


class Undone(BaseModel):
    entry: int | None
    restored: int
    kept: list[str] = Field(description="what was changed again since, and was left")


class Changes(BaseModel):
    revision: int = Field(description="ask on with this")
    concepts: dict[str, Concept | None] = Field(description="as they are now, by key; null: gone")


def tag_calls(dictionary: Dictionary) -> APIRouter:
    """The routes, for programs and for the page."""
    programs = APIRouter(
        prefix=TAGS,
        tags=["dictionary"],
        dependencies=[Security(HTTPBearer(auto_error=False))],
        route_class=own_threads(_THREADS, _PATIENCE),
    )
    page = APIRouter(
        prefix=PAGE.rstrip("/") + TAGS, include_in_schema=False, route_class=own_threads(_THREADS, _PATIENCE)
    )
    both = APIRouter()
    for routes in (programs, page):
        _add_reading(routes, dictionary)
        _add_changing(routes, dictionary)
        _add_journal(routes, dictionary)
        both.include_router(routes)
        both.include_router(_importing(routes, dictionary))
    return both


def _add_reading(routes: APIRouter, dictionary: Dictionary) -> None:
    @routes.get("/resolve")
    def resolve(name: Annotated[str, Query(max_length=2_000)], language: _Language = "") -> LookedUp:
        """The concepts that have this name, in whatever language."""
        return LookedUp(**_asked(lambda: dictionary.resolve(name, language)).as_json())

    @routes.get("/suggest")
    def suggest(
        prefix: Annotated[str, Query(max_length=2_000)],
        language: _Language = "",
        limit: Annotated[int, Query(ge=1, le=100)] = 10,
    ) -> LookedUp:
        """What somebody who has typed this much may mean."""
        return LookedUp(**_asked(lambda: dictionary.suggest(prefix, language, limit)).as_json())

    @routes.get("/concept")
    def concept(key: _Key, response: Response) -> Concept:
        """One concept with all its names. Its ETag goes into If-Match of a change."""
        found = _concept(dictionary, _asked(lambda: dictionary.concept(key)))
        response.headers["ETag"] = f'"{found.revision}"'
        return found

    @routes.get("/concepts")
    def concepts(
        after: str = "",
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
        group: Annotated[str | None, Query(max_length=2_000)] = None,
    ) -> Concepts:
        """Concepts in the order of their keys; of a group and of those in it, if one is named."""
        found = _asked(lambda: dictionary.concepts(after, limit, group))
        more = found[-1].key if len(found) == limit else None
        return Concepts(concepts=[_concept(dictionary, one) for one in found], after=more)

    @routes.get("/groups")
    def groups() -> Groups:
        """The tree for browsing."""
        return Groups(groups=[GroupOf(path=one.path, names=one.names) for one in dictionary.groups()])

    @routes.get("/export", response_class=Response)
    def export() -> StreamingResponse:
        """The whole dictionary as JSON Lines; importing them into an empty one gives the same bytes again."""
        return StreamingResponse(dictionary.lines(), media_type="application/jsonl")

    @routes.get("/changes")
    def changes(since: Annotated[int, Query(ge=0, le=2**62)] = 0) -> Changes:
        """What changed after an entry of the journal: by this another database mirrors the dictionary."""
        revision = dictionary.revision()
        found = _asked(lambda: dictionary.changes(since))
        now = {key: one and _concept(dictionary, one) for key, one in found.items()}
        return Changes(revision=revision, concepts=now)


def _add_changing(routes: APIRouter, dictionary: Dictionary) -> None:
    @routes.post("/edit", responses={412: {"description": "the concept was changed since If-Match's ETag"}})
    def edit(request: Edit, response: Response, if_match: _IfMatch = None) -> Concept:
        """Changes one concept: `do` says what. The answer is the concept as it is then."""
        changed = _concept(dictionary, _asked(lambda: _edited(dictionary, request, _revision(if_match)), if_match))
        response.headers["ETag"] = f'"{changed.revision}"'
        return changed

    @routes.post("/merge", responses={409: {"description": "what is asked contradicts what is there"}})
    def merge(request: Merge, if_match: _IfMatch = None) -> Merged:
        """Two concepts become one: names, relations and groups go along. `If-Match`: of the one that stays."""
        if request.dryRun:
            source, into = (_asked(partial(dictionary.concept, key)) for key in (request.source, request.into))
            return Merged(source=_concept(dictionary, source), into=_concept(dictionary, into), dryRun=True)
        expected = _revision(if_match)
        merged = _asked(
            lambda: dictionary.merge(request.source, request.into, request.who, expected=expected), if_match
        )
        return Merged(source=None, into=_concept(dictionary, merged), dryRun=False)

    @routes.post("/split")
    def split(request: Split, if_match: _IfMatch = None) -> Concept:
        """A new concept takes some names of one; the answer is the new one."""
        expected = _revision(if_match)
        made = _asked(
            lambda: dictionary.split(request.key, request.names, request.newKey, request.who, expected=expected),
            if_match,
        )
        return _concept(dictionary, made)


def _add_journal(routes: APIRouter, dictionary: Dictionary) -> None:
    @routes.get("/journal")
    def journal(before: int | None = None, limit: Annotated[int, Query(ge=1, le=1_000)] = 50) -> Journal:
        """What was changed, by whom and when, the newest first."""
        return Journal(entries=[EntryOf(**asdict(one)) for one in dictionary.journal(limit, before)])

    @routes.post("/journal/{entry}/undo")
    def undo(entry: int, request: Undo) -> Undone:
        """Puts back what an entry changed; what was changed again since is left, and told."""
        done = _asked(lambda: dictionary.undo(entry, request.who))
        return Undone(entry=done.entry, restored=done.restored, kept=list(done.kept))


def _importing(routes: APIRouter, dictionary: Dictionary) -> APIRouter:
    """The one call whose body is a file; it reads the body itself."""
    own = APIRouter(prefix=routes.prefix, include_in_schema=routes.include_in_schema, tags=routes.tags)
    own.dependencies = routes.dependencies

    @own.post(
        IMPORT,
        responses={413: {"description": "the file is too large"}, 422: {"description": "where the file is wrong"}},
        openapi_extra={"requestBody": {"required": True, "content": {"application/octet-stream": {}}}},
    )
    async def import_file(
        request: Request,
        name: Annotated[str, Query(min_length=1, max_length=200, description="the file's name, for the journal")],
        form: Annotated[str | None, Query(max_length=40, description="its form; else it is recognised")] = None,
        who: Annotated[str, Query(min_length=1, max_length=200)] = "somebody",
        dryRun: bool = False,
    ) -> Imported:
        """Imports a file of any form that `engine tags import` knows; all of it or nothing, as one journal entry."""
        body = await _whole(request)

        def load() -> Imported:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / (Path(name.replace("\\", "/")).name or "file")
                try:
                    file.write_bytes(body)
                except (OSError, ValueError):
                    raise HTTPException(422, f"{name[:40]!r} is no name of a file") from None
                report = _asked(lambda: dictionary.load_files([file], who, form=form, dry_run=dryRun))
            return Imported(entry=report.entry, counts=dict(report.counts), lines=dict(report.lines))

        return await anyio.to_thread.run_sync(load)

    return own


async def _whole(request: Request) -> bytes:
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_IMPORT:
                sentence = f"the file has more than {MAX_IMPORT // 2**20} MB: import it by `engine tags import`"
                raise HTTPException(413, sentence, {"Connection": "close"})
    except ClientDisconnect:
        raise HTTPException(400, "the file did not come whole") from None
    return bytes(body)


def _edited(dictionary: Dictionary, edit: Edit, expected: int | None) -> Kept:
    """What `do` means. Raises DictionaryError too where something that it needs is missing."""
    who, key = edit.who, edit.key

    def need(value: str | None, what: str) -> str:
        if value is None:
            raise DictionaryError(f"`{edit.do}` needs {what}")
        return value

    def add() -> Kept:
        names = [Name(one.text, one.lang, one.kind, weight=one.weight) for one in edit.names]
        return dictionary.add(
            key,
            who,
            category=edit.category,
            names=names,
            groups=edit.groups,
            implies=edit.implies,
            expected=expected,
        )

    actions: Mapping[str, Callable[[], Kept]] = {
        "add": add,
        "rename": lambda: dictionary.rename(key, need(edit.name, "name"), who, lang=edit.lang, expected=expected),
        "remove name": lambda: dictionary.remove_name(key, need(edit.name, "name"), who, expected=expected),
        "category": lambda: dictionary.categorise(key, need(edit.category, "category"), who, expected=expected),
        "relate": lambda: dictionary.relate(
            key, need(edit.broader, "broader"), who, remove=edit.remove, expected=expected
        ),
        "group": lambda: dictionary.group(key, need(edit.path, "path"), who, remove=edit.remove, expected=expected),
        "weigh": lambda: dictionary.weigh(key, need(edit.weight, "weight"), edit.value, who, expected=expected),
        "hide": lambda: dictionary.hide(key, who, hidden=not edit.remove, expected=expected),
    }
    return actions[edit.do]()


def _concept(dictionary: Dictionary, kept: Kept) -> Concept:
    return Concept(
        key=kept.key,
        category=kept.category,
        names=[NameOf(**asdict(name)) for name in kept.names],
        implies=list(kept.implies),
        groups=list(kept.groups),
        weights=kept.weights,
        count=kept.count,
        hidden=kept.hidden,
        revision=kept.revision,
        keys=dictionary.keys_of(kept.key, narrower=False),
    )


def _revision(if_match: str | None) -> int | None:
    """The revision that an ETag stands for; None for no header, and for `*`."""
    if if_match is None or if_match.strip() == "*":
        return None
    digits = if_match.strip().removeprefix("W/").strip('"')
    return int(digits) if digits.isdecimal() and len(digits) < 19 else -1


def _asked(ask: Callable[[], T], if_match: str | None = None) -> T:
    """What the dictionary answers; its errors as those of HTTP."""
    try:
        return ask()
    except UnknownError as error:
        raise HTTPException(404, str(error)) from None
    except ConflictError as error:
        raise HTTPException(412 if if_match else 409, str(error)) from None
    except DictionaryError as error:
        raise HTTPException(422, str(error)) from None
