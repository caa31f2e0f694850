"""`POST /tag`: the tags of a picture that a client sends. What tags is the engine's and is handed in."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Protocol

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request, Security
from fastapi.exceptions import HTTPException
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from engine.errors import EngineError, MediumError
from service.guard import TAG

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
_ANSWERS = {
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


class TagOfPicture(BaseModel):
    tag: str = Field(examples=["long_hair"])
    category: str = Field(description="as the model folder has it", examples=["General"])
    score: float = Field(description="0..1, with all digits that the model gave", examples=[0.9873046875])


class TagsOfPicture(BaseModel):
    tags: list[TagOfPicture] = Field(description="those that reach the threshold, in the order of the model's tags")


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


def tagging(tagger: PictureTagger | None, categories: Mapping[str, str]) -> APIRouter:
    """The router of the one call. `tagger`: None where there is no model. `categories`: of each of its tags."""
    api = APIRouter(tags=["tagging"], dependencies=[Security(HTTPBearer(auto_error=False))])
    places = Places()
    threads = anyio.CapacityLimiter(QUEUE)

    @api.post(TAG, openapi_extra=_BODY, responses={code: {"description": text} for code, text in _ANSWERS.items()})
    async def tag(request: Request) -> TagsOfPicture:
        """Tags one picture at once and stores nothing. Pictures that come together share the model's batches."""
        if tagger is None:
            raise await _refusal(request, 404, "this service tags no pictures: start it with `engine serve --model`")
        size = await _size(request, tagger.max_file_size)
        if not places.free(size):
            sentence = "as many pictures as may wait for the model do: try again in a moment"
            raise await _refusal(request, 503, sentence, {"Retry-After": str(RETRY_SECONDS)})
        with places.taken(size):
            body = await _body(request)
            try:
                # Not cancelled when the client leaves: what runs in a thread runs to its end, and holds its place.
                with anyio.CancelScope(shield=True):
                    found = await anyio.to_thread.run_sync(tagger.tag, body, limiter=threads)
            except MediumError as error:
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
            except MemoryError as error:
                sentence = f"memory is short at this moment: {error}"
                raise HTTPException(503, sentence, {"Retry-After": str(RETRY_SECONDS)}) from None
            except EngineError as error:
                raise HTTPException(503, str(error)) from None
        return TagsOfPicture(
            tags=[TagOfPicture(tag=name, category=categories.get(name, ""), score=score) for name, score in found]
        )

    return api


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
