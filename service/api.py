"""The media API: four calls, exactly as the contract has them."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Header, Request, Security
from fastapi.exceptions import HTTPException, RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field, StrictInt, StringConstraints
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException as StarletteHTTPException
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from service.catalogue import Catalogue
from service.store import Opinion, Score, Store
from service.threads import own_threads

_THREADS = 16  # none of which ever waits for the page
_MAX_ID = 2**63 - 1  # the largest integer of SQLite, and of Java's long
_Id = (
    Annotated[StrictInt, Field(ge=0, le=_MAX_ID)]
    | Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9]{1,18}$")]
)


_Key = Annotated[str | None, Header(max_length=255, description="storing is idempotent: a server need not keep it")]
_REASONS = {"model_attributes_type": "this must be a JSON object, sent as application/json"}
"""Where what pydantic says is not plain enough: the kind of its error, and what is said instead."""
_UNKNOWN = "no such mediaId in the catalogue"


class SegmentRequest(BaseModel):
    segmentStart: _Id = Field(description="the first id wanted", examples=[1])
    limit: Annotated[StrictInt, Field(ge=1, le=10_000)] = Field(description="most media in the answer", examples=[100])
    storageStatus: Literal["ALL_DL"] = Field("ALL_DL", description="only media with a finished download")


class Medium(BaseModel):
    id: int
    storageUrl: str = Field(description="relative to the storage root", examples=["ab/cd/0001.jpg"])
    fileVersion: str = Field(description="another one when the file was replaced", examples=["81234-17180-0"])


class Segment(BaseModel):
    data: list[Medium] = Field(description="ascending by id; empty at the end of the catalogue")


_MediaId = Annotated[_Id, Field(description="as the segment gave it; a string holds digits alone", examples=[1])]
_TagKey = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=500),
    Field(description="the tag", examples=["long_hair"]),
]
_Similarity = Annotated[
    str,
    StringConstraints(strict=True, pattern=r"^(0\.[0-9]{1,9}|1\.0{1,9}|0|1)$"),
    Field(description="0..1 as text, Python format 05.3f", examples=["0.987"]),
]


# Of these a request holds thousands: a dictionary a record takes half the time of an object, and the garbage collector,
# which went through all of them again and again, passes over those that hold texts alone.


class Recognition(TypedDict):
    mediaId: _MediaId
    tagKey: _TagKey
    similarity: _Similarity


class TagOfModel(TypedDict):
    tagKey: _TagKey
    similarity: _Similarity


class Replacement(TypedDict):
    mediaId: _MediaId
    model: Annotated[
        str,
        StringConstraints(strict=True, min_length=1, max_length=500),
        Field(description="the model's name", examples=["deepdanbooru-v3"]),
    ]
    tags: Annotated[
        list[TagOfModel], Field(description="all that this model gives this medium now; empty takes all away")
    ]


class Rejection(BaseModel):
    mediaId: int | str
    tagKey: str | None = Field(None, description="missing: all tags of the medium")
    reason: str


class Stored(BaseModel):
    stored: int = Field(description="records stored, repeated ones included")
    rejected: list[Rejection] = Field([], description="what was not stored: mediaId, tagKey, reason")


def media_api(catalogue: Catalogue, store: Store) -> APIRouter:
    """The router of the four calls. guard.py checks the token; `Security` only puts it into the OpenAPI document."""
    api = APIRouter(
        prefix="/media",
        tags=["media API"],
        dependencies=[Security(HTTPBearer(auto_error=False))],
        route_class=own_threads(_THREADS),
    )

    @api.post("/segment")
    def segment(request: SegmentRequest) -> Segment:
        """Which media are there: those with id >= segmentStart, ascending, at most limit."""
        rows = catalogue.segment(int(request.segmentStart), request.limit)
        return Segment(data=[Medium(id=row.id, storageUrl=row.path, fileVersion=row.version) for row in rows])

    @api.post(
        "/recognition",
        response_model_exclude_defaults=True,
        responses={422: {"description": "no such medium"}},
    )
    def recognition(record: Recognition) -> Stored:
        """Stores one tag of one medium; sent again, it changes nothing."""
        if _put(store, [record]):
            # not 404, by which clients tell that the address is wrong
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"mediaId {record['mediaId']} is not in the catalogue")
        return Stored(stored=1, rejected=[])

    @api.post(
        "/recognition/bulk",
        responses={200: {"model": Stored}, 207: {"model": Stored, "description": "stored, but for the rejected"}},
    )
    def bulk(
        records: list[Recognition],
        idempotency_key: _Key = None,
    ) -> JSONResponse:
        """Stores many records in one transaction. Those of unknown media come back as rejected, the rest is stored."""
        unknown = _put(store, records)
        rejected = [
            {"mediaId": record["mediaId"], "tagKey": record["tagKey"], "reason": _UNKNOWN}
            for record in records
            if int(record["mediaId"]) in unknown
        ]
        return _stored(len(records) - len(rejected), rejected)

    @api.post(
        "/recognition/replace",
        responses={200: {"model": Stored}, 207: {"model": Stored, "description": "stored, but for the rejected"}},
    )
    def replace(replacements: list[Replacement], idempotency_key: _Key = None) -> JSONResponse:
        """Stores all tags that a model gives a medium; those that it gave before and names no more are taken away."""
        opinions = [
            Opinion(int(r["mediaId"]), r["model"], {tag["tagKey"]: float(tag["similarity"]) for tag in r["tags"]})
            for r in replacements
        ]
        unknown = store.replace(opinions)
        rejected = [{"mediaId": r["mediaId"], "reason": _UNKNOWN} for r in replacements if int(r["mediaId"]) in unknown]
        return _stored(sum(len(o.tags) for o in opinions if o.media_id not in unknown), rejected)

    return api


def _stored(count: int, rejected: Sequence[Mapping[str, object]]) -> JSONResponse:
    answer: dict[str, Any] = {"stored": count}
    if rejected:
        answer["rejected"] = rejected
    return JSONResponse(answer, HTTPStatus.MULTI_STATUS if rejected else HTTPStatus.OK)


def _put(store: Store, records: Sequence[Recognition]) -> set[int]:
    return store.put([Score(int(r["mediaId"]), r["tagKey"], float(r["similarity"])) for r in records])


def answer_errors_in_sentences(app: FastAPI) -> None:
    """Make every error's answer `{"error": sentence}`."""

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        problems = error.errors()
        first = problems[0]
        where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("constrained-"))
        reason = _REASONS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return JSONResponse({"error": f"{where}: {reason}{more}"}, HTTPStatus.UNPROCESSABLE_ENTITY)

    @app.exception_handler(StarletteHTTPException)
    def refused(_request: Request, error: StarletteHTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    def failed(_request: Request, error: Exception) -> JSONResponse:
        # What goes wrong here is a bug; the server writes the traceback to its log.
        sentence = f"the service has a bug ({type(error).__name__}): its log says more"
        return JSONResponse({"error": sentence}, HTTPStatus.INTERNAL_SERVER_ERROR)

    @app.exception_handler(OperationalError)
    def database_away(_request: Request, error: OperationalError) -> JSONResponse:
        # Another process has locked it, or the disk is full. Both may pass, so the client is told to come back.
        sentence = f"the service's database does not take this now: {error.orig}"
        return JSONResponse({"error": sentence}, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "5"})
