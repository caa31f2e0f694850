"""The web page: its static files, the JSON that these fetch, and the pictures, which are asked for by id."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import FileResponse, Response

from engine.pictures.sniff import CONTENT_TYPES
from service import search, thumbs
from service.catalogue import Catalogue
from service.database import Database

_STATIC = Path(__file__).parent / "static"
# `mimetypes` reads Windows' registry, which may call .js anything.
_STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".html": "text/html", ".svg": "image/svg+xml"}
_FRESH = {"Cache-Control": "no-cache"}
_FOR_A_WHILE = {"Cache-Control": "private, max-age=300"}
_THUMB_SIDES = {"small": 360, "large": 1600}

_Tags = Annotated[list[str], Query(max_length=20, description="whole tags; all must be there")]
_Words = Annotated[str, Query(max_length=200, description="parts of tags, separated by spaces")]
_Category = Annotated[str | None, Query(max_length=100)]


def pages(database: Database, catalogue: Catalogue) -> APIRouter:
    """The page's routes; not part of the contract, so not in the OpenAPI document."""
    routes = APIRouter(include_in_schema=False)
    _add_static(routes)
    _add_data(routes, database, catalogue)
    _add_pictures(routes, catalogue)
    return routes


def _add_static(routes: APIRouter) -> None:
    files = {path.name: path for path in _STATIC.iterdir() if path.suffix in _STATIC_TYPES}

    @routes.get("/")
    def index() -> Response:
        return _static(files["index.html"])

    @routes.get("/docs")
    def docs() -> Response:
        return _static(files["docs.html"])

    @routes.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "no such file")
        return _static(files[name])


def _add_data(routes: APIRouter, database: Database, catalogue: Catalogue) -> None:
    @routes.get("/page/summary")
    def summary() -> dict[str, Any]:
        with database.reading() as connection:
            return {"library": catalogue.root.name, **search.summary(connection)}

    @routes.get("/page/pictures")
    def pictures(
        tag: _Tags = [],  # noqa: B006 - FastAPI copies it
        q: _Words = "",
        category: _Category = None,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 60,
    ) -> dict[str, Any]:
        with database.reading() as connection:
            return search.find(connection, search.Query(tag, q.split(), category or None), offset, limit)

    @routes.get("/page/tags")
    def tags(
        tag: _Tags = [],  # noqa: B006
        q: _Words = "",
        category: _Category = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 12,
    ) -> list[dict[str, Any]]:
        with database.reading() as connection:
            return search.suggest(connection, search.Query(tag, q.split(), category or None), limit)

    @routes.get("/page/pictures/{media_id}")
    def picture(media_id: int) -> dict[str, Any]:
        with database.reading() as connection:
            found = search.picture(connection, _id(media_id))
        if found is None:
            raise HTTPException(404, f"there is no picture {media_id}")
        return found


def _add_pictures(routes: APIRouter, catalogue: Catalogue) -> None:
    @routes.get("/picture/{media_id}")
    def original(media_id: int) -> Response:
        file = _locate(catalogue, media_id)
        kind = CONTENT_TYPES.get(file.suffix.lower())
        if kind is None:  # the name is a link to a file of another type
            raise HTTPException(404, f"there is no picture {media_id}")
        return FileResponse(file, media_type=kind, headers=_FRESH)

    @routes.get("/thumb/{media_id}")
    def thumb(media_id: int, size: Annotated[str, Query(pattern="^(small|large)$")] = "small") -> Response:
        file = _locate(catalogue, media_id)
        return Response(thumbs.thumbnail(file, _THUMB_SIDES[size]), media_type="image/webp", headers=_FOR_A_WHILE)


def _static(file: Path) -> Response:
    return FileResponse(file, media_type=_STATIC_TYPES[file.suffix], headers=_FRESH)


def _id(media_id: int) -> int:
    """The id, or -1, which no picture has, for one that is too large for the database."""
    return media_id if 0 <= media_id < 2**63 else -1


def _locate(catalogue: Catalogue, media_id: int) -> Path:
    file = catalogue.locate(_id(media_id))
    if file is None:
        raise HTTPException(404, f"there is no picture {media_id}")
    return file
