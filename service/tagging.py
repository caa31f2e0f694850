"""Pictures that a client sends: `POST /tag` and `POST /similar`. What tags is the engine's and is handed in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Literal, Protocol, TypeVar

import anyio
import anyio.to_thread
import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Request, Security
from fastapi.exceptions import HTTPException
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from engine.errors import EngineError, MediumError
from engine.vectors.hash import COPY
from service.catalogue import Catalogue
from service.errors import ServiceError
from service.guard import PAGE_SIMILAR, SIMILAR_CALL, TAG
from service.search.evaluate import NO_VECTORS
from service.similar import Match, Similar

T = TypeVar("T")
SIMILAR = 50
"""Similar pictures in an answer at most."""
QUEUE = 64
"""Pictures that are received, wait or are tagged at once; the next one is answered 503."""
QUEUE_BYTES = 256_000_000
"""What these may take together; one that is larger than all of it passes alone."""
BODY_SECONDS = 60.0
"""A picture that has not come whole after so long gives its place to another."""
RETRY_SECONDS = 2
_DRAINED = 16_000_000  # bytes of a refused picture that are read all the same, else its client may see no answer

_BODY = {
    "requestBody": {
        "required": True,
        "description": "the picture's file as it is: not a form, not Base64",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_ANSWERS: dict[int | str, Any] = {
    404: "this service has no model",
    408: "the picture did not come in time",
    411: "the request has no Content-Length",
    413: "the file is too large",
    415: "the body is a form",
    422: "no picture, a broken one, or one with too many pixels: the reason",
    503: "as many pictures as may wait do: try again after Retry-After seconds",
}


class PictureTagger(Protocol):
    """What tags pictures; `engine.Tagger` is one. Asked by many threads at once."""

    @property
    def max_file_size(self) -> int:
        """Bytes of a picture's file at most."""
        ...

    def tag(self, picture: bytes) -> Sequence[tuple[str, float]]:
        """Tags and scores, 0..1, of a picture's file. Raises `MediumError`, `EngineError`, `MemoryError`."""
        ...

    def look(self, picture: bytes) -> "Seen":
        """The same, with what finds similar pictures; None where the model gives none. Raises as `tag`."""
        ...


class Seen(Protocol):
    """What a model sees in a picture.

    Attributes:
        tags: those that count, with their scores.
        features: float32 [features]; None where the model gives none.
        hash: of what the picture looks like, 64 bits.
        model: SHA-256 of the model.
    """

    @property
    def tags(self) -> Sequence[tuple[str, float]]: ...

    @property
    def features(self) -> npt.NDArray[np.float32] | None: ...

    @property
    def hash(self) -> int: ...

    @property
    def model(self) -> str: ...


class TagOfPicture(BaseModel):
    tag: str = Field(examples=["long_hair"])
    category: str = Field(description="as the model folder has it", examples=["General"])
    score: float = Field(description="0..1, with all digits that the model gave", examples=[0.9873046875])


class TagsOfPicture(BaseModel):
    tags: list[TagOfPicture] = Field(description="those that reach the threshold, in the order of the model's tags")


class SimilarPicture(BaseModel):
    mediaId: int
    storageUrl: str
    likeness: float = Field(description="0..1: the cosine of the feature vectors", examples=[0.93])
    copy_: bool = Field(alias="copy", description="the same picture, resized or with a detail changed")


NotLooked = Literal["no vectors", "no features", "other model"]
NO_FEATURES = (
    "this service's model gives no features, by which similar pictures are found: serve it with another --model"
)


class LookAtPicture(TagsOfPicture):
    similar: list[SimilarPicture] = Field(description="of the library, the most alike first")
    code: NotLooked | None = Field(description="null: similar pictures were looked for; else why they were not")
    reason: str | None = Field(description="the same as a sentence")


class Places:
    """The pictures that are in the house, counted. Only the event loop asks."""

    def __init__(self) -> None:
        self._pictures = self._bytes = 0

    def free(self, size: int) -> bool:
        """Whether there is room for one more picture of so many bytes."""
        return self._pictures == 0 or (self._pictures < QUEUE and self._bytes + size <= QUEUE_BYTES)

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """One picture of so many bytes is here for the length of the block."""
        self._pictures += 1
        self._bytes += size
        try:
            yield
        finally:
            self._pictures -= 1
            self._bytes -= size


class Pictures:
    """Takes pictures that are sent, as many at once as there are places for, and has them looked at."""

    def __init__(self, tagger: PictureTagger | None) -> None:
        self._tagger = tagger
        self._places = Places()
        self._threads = anyio.CapacityLimiter(QUEUE)

    async def look(self, request: Request, look: Callable[[PictureTagger, bytes], T]) -> T:
        """What `look` finds, in a thread, in the picture that a request brings. Raises HTTPException."""
        if self._tagger is None:
            raise await _refusal(request, 404, "this service tags no pictures: start it with `engine serve --model`")
        size = await _size(request, self._tagger.max_file_size)
        if not self._places.free(size):
            sentence = "as many pictures as may wait for the model do: try again in a moment"
            raise await _refusal(request, 503, sentence, {"Retry-After": str(RETRY_SECONDS)})
        with self._places.taken(size):
            body = await _body(request)
            try:
                # Not cancelled when the client leaves: what runs in a thread runs to its end, and holds its place.
                with anyio.CancelScope(shield=True):
                    found = await anyio.to_thread.run_sync(look, self._tagger, body, limiter=self._threads)
                return found
            except MediumError as error:
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
            except MemoryError as error:
                sentence = f"memory is short at this moment: {error}"
                raise HTTPException(503, sentence, {"Retry-After": str(RETRY_SECONDS)}) from None
            except EngineError as error:
                raise HTTPException(503, str(error)) from None


def tagging(
    tagger: PictureTagger | None, categories: Mapping[str, str], similar: Similar, catalogue: Catalogue
) -> APIRouter:
    """The router of the calls that take a picture.

    Args:
        tagger: None where there is no model.
        categories: of each of its tags.
        similar: finds pictures of the library.
        catalogue: the library's.
    """
    pictures = Pictures(tagger)
    api = APIRouter(tags=["tagging"], dependencies=[Security(HTTPBearer(auto_error=False))])
    page = APIRouter(include_in_schema=False)
    answers = {code: {"description": text} for code, text in _ANSWERS.items()}

    def named(tags: Sequence[tuple[str, float]]) -> list[TagOfPicture]:
        return [TagOfPicture(tag=name, category=categories.get(name, ""), score=score) for name, score in tags]

    def find(tagger: PictureTagger, picture: bytes) -> LookAtPicture:
        seen = tagger.look(picture)
        matches: Sequence[Match] = []
        code: NotLooked | None = None
        reason: str | None = None
        if not similar.kept():
            code, reason = "no vectors", NO_VECTORS
        elif seen.features is None:
            code, reason = "no features", NO_FEATURES
        else:
            try:
                matches = similar.like(seen.features, seen.hash, seen.model, SIMILAR)
            except ServiceError as error:
                code, reason = "other model", str(error)
        return LookAtPicture(tags=named(seen.tags), similar=described(matches, catalogue), code=code, reason=reason)

    @api.post(TAG, openapi_extra=_BODY, responses=answers)
    async def tag(request: Request) -> TagsOfPicture:
        """Tags one picture at once and stores nothing. Pictures that come together share the model's batches."""
        return TagsOfPicture(tags=named(await pictures.look(request, lambda tagger, body: tagger.tag(body))))

    @api.post(SIMILAR_CALL, openapi_extra=_BODY, responses=answers)
    async def similar_to(request: Request) -> LookAtPicture:
        """Tags one picture at once, and finds the library's pictures that look like it. Stores nothing."""
        return await pictures.look(request, find)

    @page.post(PAGE_SIMILAR)
    async def dropped(request: Request) -> LookAtPicture:
        return await pictures.look(request, find)

    both = APIRouter()
    both.include_router(api)
    both.include_router(page)
    return both


def described(matches: Sequence[Match], catalogue: Catalogue) -> list[SimilarPicture]:
    """Those of the pictures that are still there, as an answer has them."""
    there = catalogue.paths([one.media_id for one in matches])
    return [
        SimilarPicture(
            mediaId=one.media_id,
            storageUrl=there[one.media_id],
            likeness=round(one.likeness, 4),
            copy=one.bits <= COPY,
        )
        for one in matches
        if one.media_id in there
    ]


async def _size(request: Request, most: int) -> int:
    """The bytes that are to come. Raises for what can be refused by its headers."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        sentence = "the body is a form: send the picture's bytes alone, as curl --data-binary @FILE does"
        raise await _refusal(request, 415, sentence)
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise await _refusal(request, 411, "Content-Length is missing: send the picture with its size in bytes")
    if int(length) > most:
        raise await _refusal(request, 413, f"the picture has {length} bytes, and the limit is {most}: --max-file-size")
    return int(length)


async def _body(request: Request) -> bytes:
    try:
        with anyio.move_on_after(BODY_SECONDS):
            return await request.body()
    except ClientDisconnect:
        raise HTTPException(400, "the picture did not come whole") from None  # nobody reads it
    raise HTTPException(408, f"the picture did not come within {BODY_SECONDS:.0f} s", {"Connection": "close"})


async def _refusal(
    request: Request, status: int, sentence: str, headers: Mapping[str, str] | None = None
) -> HTTPException:
    """The answer to a picture that is not wanted, when enough of it was read for the client to look at an answer."""
    left, ended = _DRAINED, False
    with anyio.move_on_after(BODY_SECONDS):
        try:
            async for part in request.stream():
                left -= len(part)
                if left < 0:
                    break
            else:
                ended = True
        except ClientDisconnect:
            pass
    # There may be unread parts of the body in the connection.
    return HTTPException(status, sentence, {**(headers or {}), **({} if ended else {"Connection": "close"})})
