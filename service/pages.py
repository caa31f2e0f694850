"""The web page: its static files, the JSON that these fetch, and the pictures, which are asked for by id."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, Response

from engine.pictures.sniff import CONTENT_TYPES
from service.catalogue import Catalogue
from service.guard import HEALTH
from service.search.find import Search
from service.search.query import MAX_LENGTH
from service.threads import own_threads
from service.thumbs import Thumbnails, Version, placeholder

_STATIC = Path(__file__).parent / "static"
# `mimetypes` reads Windows' registry, which may call .js anything.
_STATIC_TYPES = {".css": "text/css", ".js": "text/javascript", ".html": "text/html", ".svg": "image/svg+xml"}
_FRESH = {"Cache-Control": "no-cache"}
_FOR_A_WHILE = {"Cache-Control": "private, max-age=300"}
_THUMB_SIDES = {"small": 360, "large": 1600}
_READING = ["GET", "HEAD"]

# Threads of each kind of request, so that searches or a share that hangs keep neither each other nor the media API
# waiting. Searches compute; pictures wait for the disk or the network.
_SEARCHES = 4
_PICTURES = 8
_PATIENCE = 10.0  # seconds that a request waits for one of them

_Text = Annotated[str, Query(alias="q", max_length=MAX_LENGTH, description="a query")]
_Language = Annotated[str, Query(alias="lang", max_length=35, description="BCP 47: of the names that are shown")]


def pages(search: Search, catalogue: Catalogue, thumbnails: Thumbnails) -> APIRouter:
    """The page's routes; not part of the contract, so not in the OpenAPI document."""
    routes = APIRouter(include_in_schema=False)
    routes.include_router(_static_files())
    routes.include_router(_data(search, catalogue))
    routes.include_router(_pictures(catalogue, thumbnails))
    return routes


def _static_files() -> APIRouter:
    routes = APIRouter()
    files = {path.name: path for path in _STATIC.iterdir() if path.suffix in _STATIC_TYPES}

    @routes.api_route("/", methods=_READING)
    def index(request: Request) -> Response:
        return _static(request, files["index.html"])

    @routes.api_route("/dictionary", methods=_READING)
    def dictionary(request: Request) -> Response:
        return _static(request, files["dictionary.html"])

    @routes.api_route("/review", methods=_READING)
    def review(request: Request) -> Response:
        return _static(request, files["review.html"])

    @routes.api_route("/copies", methods=_READING)
    def copies(request: Request) -> Response:
        return _static(request, files["copies.html"])

    @routes.api_route("/docs", methods=_READING)
    def docs(request: Request) -> Response:
        return _static(request, files["docs.html"])

    @routes.api_route("/static/{name}", methods=_READING)
    def static(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404, "no such file")
        return _static(request, files[name])

    @routes.api_route(HEALTH, methods=_READING)
    async def health() -> dict[str, str]:
        """For whoever watches the process."""
        return {"status": "ok"}

    return routes


def _data(search: Search, catalogue: Catalogue) -> APIRouter:
    routes = APIRouter(route_class=own_threads(_SEARCHES, _PATIENCE))
    _add_tags(routes, search, catalogue)

    @routes.api_route("/page/pictures", methods=_READING)
    def pictures(
        text: _Text = "",
        language: _Language = "en",
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 60,
    ) -> dict[str, Any]:
        return search.find(text, offset=offset, limit=limit, language=language)

    @routes.api_route("/page/pictures/{media_id}", methods=_READING)
    def picture(media_id: int, language: _Language = "en") -> dict[str, Any]:
        found = search.picture(_id(media_id), language)
        if found is None:
            raise HTTPException(404, f"there is no picture {media_id}")
        return found

    @routes.api_route("/page/pictures/{media_id}/{direction}", methods=_READING)
    def neighbour(
        media_id: int, direction: Literal["next", "previous"], text: _Text = "", language: _Language = "en"
    ) -> dict[str, int | None]:
        return {"id": search.neighbour(text, _id(media_id), after=direction == "next", language=language)}

    @routes.post("/page/pictures/{media_id}/again")
    def again(media_id: int) -> dict[str, Any]:
        if not catalogue.tag_again(_id(media_id)):
            raise HTTPException(404, f"there is no picture {media_id}")
        return {"asked": True}

    return routes


def _add_tags(routes: APIRouter, search: Search, catalogue: Catalogue) -> None:
    """What stands beside pictures: counts, tags to choose from."""

    @routes.api_route("/page/summary", methods=_READING)
    def summary(language: _Language = "en") -> dict[str, Any]:
        return {"library": catalogue.root.name, **search.summary(language)}

    @routes.api_route("/page/facets", methods=_READING)
    def facets(text: _Text = "", language: _Language = "en") -> dict[str, Any]:
        return search.facets(text, language)

    @routes.api_route("/page/group", methods=_READING)
    def group(
        path: Annotated[str, Query(max_length=200)],
        language: _Language = "en",
        limit: Annotated[int, Query(ge=1, le=500)] = 60,
    ) -> list[dict[str, Any]]:
        return search.browse(path, limit, language)

    @routes.api_route("/page/tags", methods=_READING)
    def tags(
        text: Annotated[str, Query(alias="q", max_length=200, description="what is being typed")] = "",
        language: _Language = "en",
        limit: Annotated[int, Query(ge=1, le=100)] = 12,
    ) -> list[dict[str, Any]]:
        return search.suggest(text, limit, language)


def _pictures(catalogue: Catalogue, thumbnails: Thumbnails) -> APIRouter:
    routes = APIRouter(route_class=own_threads(_PICTURES, _PATIENCE))

    @routes.api_route("/picture/{media_id}", methods=_READING)
    def original(request: Request, media_id: int) -> Response:
        file, status = _locate(catalogue, media_id)
        kind = CONTENT_TYPES.get(file.suffix.lower())
        if kind is None:  # the name is a link to a file of another type
            raise HTTPException(404, f"there is no picture {media_id}")
        return _unless_known(request, FileResponse(file, media_type=kind, stat_result=status, headers=_FRESH))

    @routes.api_route("/thumb/{media_id}", methods=_READING)
    def thumb(request: Request, media_id: int, size: Literal["small", "large"] = "small") -> Response:
        file, status = _locate(catalogue, media_id)
        shown = Version(status.st_mtime_ns, status.st_size)
        tag = f'"{shown.changed_ns:x}-{shown.size:x}-{size}"'
        if _knows(request, tag):
            return _not_modified({"ETag": tag, **_FOR_A_WHILE})
        webp = thumbnails.get(media_id, file, shown, _THUMB_SIDES[size])
        if webp is None:  # asked for again each time: the file may be complete a moment later
            return Response(placeholder(), media_type="image/webp", headers=_FRESH)
        return Response(webp, media_type="image/webp", headers={"ETag": tag, **_FOR_A_WHILE})

    return routes


def _static(request: Request, file: Path) -> Response:
    answer = FileResponse(file, media_type=_STATIC_TYPES[file.suffix], stat_result=file.stat(), headers=_FRESH)
    return _unless_known(request, answer)


def _unless_known(request: Request, answer: FileResponse) -> Response:
    """The answer, or 304 if the client has this version of the file."""
    tag = answer.headers["etag"]
    return _not_modified({"ETag": tag, **_FRESH}) if _knows(request, tag) else answer


def _knows(request: Request, tag: str) -> bool:
    """Whether If-None-Match names this tag; weakly, as RFC 9110 wants it there."""
    given = request.headers.get("if-none-match", "")
    return tag in (one.strip().removeprefix("W/") for one in given.split(",")) or given.strip() == "*"


def _not_modified(headers: dict[str, str]) -> Response:
    return Response(status_code=304, headers=headers)


def _id(media_id: int) -> int:
    """The id, or -1, which no picture has, for one that is too large for the database."""
    return media_id if 0 <= media_id < 2**63 else -1


def _locate(catalogue: Catalogue, media_id: int) -> tuple[Path, os.stat_result]:
    """The picture's file and its state. Raises HTTPException 404."""
    file = catalogue.locate(_id(media_id))
    try:
        if file is not None:
            return file, file.stat()
    except OSError:  # it vanished just now
        pass
    raise HTTPException(404, f"there is no picture {media_id}")
