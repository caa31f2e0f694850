"""Review over HTTP, for programs; under /page/ the same for the page. And the groups of copies."""

import re
from typing import Annotated

from fastapi import APIRouter, Query, Security
from fastapi.exceptions import HTTPException
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field, StrictBool, StrictInt, StringConstraints

from service.copies import Copies
from service.guard import PAGE
from service.review.estimate import LEAST, Share
from service.review.review import Change, NoSuchTag, OrderName, Review, Told, Why
from service.threads import own_threads
from service.verdicts import EditError

MAX_VERDICTS = 10_000
"""Of one request."""
_THREADS = 4
_PATIENCE = 10.0
_ID = 2**63 - 1
_PLAIN = re.compile(r"[\w.-]+")

_Key = Annotated[str, StringConstraints(min_length=1, max_length=500)]
_Tag = Annotated[str, Query(alias="tag", min_length=1, max_length=500, description="its key, or a name that means one")]
_Language = Annotated[str, Query(alias="lang", max_length=35, description="BCP 47: of the names that are shown")]
_Offset = Annotated[int, Query(ge=0, le=10**9)]
_Who = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class AskedPicture(BaseModel):
    mediaId: int
    storageUrl: str
    score: float | None = Field(description="the best that a model gave, 0..1; null: none gave the tag")
    why: Why
    doubt: float | None = Field(description="of the suspicious order: the share of its neighbours without the tag")


class QueueAnswer(BaseModel):
    tag: str
    name: str = Field(description="in the language that was asked for")
    category: str
    left: int = Field(description="pictures of this order that nobody has judged")
    judged: int = Field(description="pictures with a verdict on this tag")
    scored: int = Field(description="pictures to which a model gave the tag, one of each group of copies")
    threshold: float | None = Field(description="the one in use; null: whatever a model gave counts")
    pictures: list[AskedPicture]


class OneVerdict(BaseModel):
    mediaId: Annotated[StrictInt, Field(ge=0, le=_ID)]
    yes: StrictBool


class VerdictsRequest(BaseModel):
    tag: _Key
    verdicts: Annotated[list[OneVerdict], Field(min_length=1, max_length=MAX_VERDICTS)] = Field(
        description="of two on one picture the last counts"
    )
    order: OrderName = Field("uncertain", description="that of the queue from which the pictures came")
    who: _Who = Field("somebody", description="for the journal")


class Already(BaseModel):
    mediaId: int
    yes: bool
    who: str


class VerdictsAnswer(BaseModel):
    id: int | None = Field(description="of the journal's entry, to undo it; null where nothing was kept")
    given: int = Field(description="verdicts that were kept")
    already: list[Already] = Field(description="pictures that were judged before, by whom: that stays")
    gone: list[int] = Field(description="ids that no picture has, or not any more")


class Estimated(BaseModel):
    value: float
    low: float
    high: float


class CurvePoint(BaseModel):
    threshold: float
    precision: float
    recall: float
    f1: float


class Best(BaseModel):
    """The threshold with the best F1, with 95 % intervals."""

    threshold: float
    low: float
    high: float
    lowest: bool = Field(description="no lower score is known, so the best may lie below")
    precision: Estimated
    recall: Estimated = Field(description="among the pictures that a model scored")
    f1: float


class Missed(BaseModel):
    """Pictures to which no model gave the tag, and what a random sample of them tells."""

    pictures: int
    looked: int
    share: Estimated = Field(description="of them that has the tag all the same")


class Changes(BaseModel):
    pictures: int
    some: list[int] = Field(description="ids of those whose scores are nearest to the threshold")


class EstimateAnswer(BaseModel):
    tag: str
    verdicts: int = Field(description="from which the estimate learns: those that were given in the usual order")
    yes: int
    judged: int = Field(description="all verdicts on this tag")
    needed: int = Field(description=f"how many are missing until there is an estimate: it takes {LEAST}")
    threshold: float | None = Field(description="the one in use; null: whatever a model gave counts")
    now: CurvePoint | None = Field(description="with the threshold in use")
    best: Best | None = Field(description="null while verdicts are missing, or none is a yes")
    curve: list[CurvePoint] = Field(description="by threshold, ascending")
    unscored: Missed
    lose: Changes = Field(description="pictures that would no longer have the tag with the best threshold")
    gain: Changes = Field(description="pictures that would have it again")
    command: str | None = Field(description="posts the best threshold's tags to the media API")


class ThresholdRequest(BaseModel):
    tag: _Key
    threshold: Annotated[float, Field(gt=0, le=1)] | None = Field(
        description="the score from which the tag counts in this library; null: whatever a model gave counts"
    )


class ThresholdAnswer(BaseModel):
    tag: str
    before: float | None
    threshold: float | None


class ReviewedTag(BaseModel):
    tag: str
    name: str
    verdicts: int
    yes: int
    threshold: float | None
    best: CurvePoint | None


class ReviewedTags(BaseModel):
    tags: list[ReviewedTag] = Field(description="those with most verdicts first")


class CopyOfPicture(BaseModel):
    mediaId: int
    storageUrl: str
    size: int | None = Field(description="of the file, in bytes")


class CopyGroup(BaseModel):
    pictures: list[CopyOfPicture] = Field(description="the largest file first; 1,000 at most")


class CopyGroups(BaseModel):
    total: int = Field(description="groups in all")
    groups: list[CopyGroup] = Field(description="the largest first")


def review_calls(review: Review, copies: Copies) -> APIRouter:
    """The routes for programs."""
    api = APIRouter(dependencies=[Security(HTTPBearer(auto_error=False))], route_class=own_threads(_THREADS, _PATIENCE))
    _add(api, "", review)
    _add_copies(api, "", copies)
    return api


def page_review(review: Review, copies: Copies) -> APIRouter:
    """The same for the page; not in the OpenAPI document."""
    api = APIRouter(include_in_schema=False, route_class=own_threads(_THREADS, _PATIENCE))
    _add(api, PAGE.rstrip("/"), review)
    _add_copies(api, PAGE.rstrip("/"), copies)
    return api


def _add(api: APIRouter, prefix: str, review: Review) -> None:
    unknown = {"description": "no tag of the library is called so, or several are"}

    @api.get(f"{prefix}/review/queue", tags=["review"], responses={404: unknown})
    def queue(
        tag: _Tag,
        order: OrderName = "uncertain",
        offset: _Offset = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 60,
        language: _Language = "en",
    ) -> QueueAnswer:
        """Pictures that are to be judged next, of one tag; the same state gives the same order."""
        try:
            found = review.queue(tag, order, offset=offset, limit=limit, language=language)
        except NoSuchTag as error:
            raise HTTPException(404, str(error)) from None
        return QueueAnswer(
            tag=found.key,
            name=found.name,
            category=found.category,
            left=found.left,
            judged=found.judged,
            scored=found.scored,
            threshold=found.threshold,
            pictures=[
                AskedPicture(mediaId=one.media_id, storageUrl=one.path, score=one.score, why=one.why, doubt=one.doubt)
                for one in found.asked
            ],
        )

    @api.post(f"{prefix}/review/verdicts", tags=["review"], responses={404: unknown})
    def judge(request: VerdictsRequest) -> VerdictsAnswer:
        """Keeps verdicts on pictures that nobody has judged yet. What was judged before is told, and stays."""
        said = {one.mediaId: one.yes for one in request.verdicts}
        try:
            done = review.judge(request.tag, said, request.order, who=request.who)
        except (NoSuchTag, EditError) as error:
            raise HTTPException(404, str(error)) from None
        already = [Already(mediaId=media_id, yes=one.yes, who=one.who) for media_id, one in done.already.items()]
        return VerdictsAnswer(id=done.id, given=done.given, already=already, gone=list(done.gone))

    @api.get(f"{prefix}/review/estimate", tags=["review"], responses={404: unknown})
    def estimate(tag: _Tag, language: _Language = "en") -> EstimateAnswer:
        """What the verdicts on a tag tell: the best threshold, precision and recall, each with its interval."""
        try:
            return _estimate(review.told(tag, language))
        except NoSuchTag as error:
            raise HTTPException(404, str(error)) from None

    @api.post(f"{prefix}/review/threshold", tags=["review"], responses={404: unknown})
    def threshold(request: ThresholdRequest) -> ThresholdAnswer:
        """Puts a threshold to use in this library: searches go by it at once. Nothing is lost, it can be put back."""
        try:
            before = review.use(request.tag, request.threshold)
        except NoSuchTag as error:
            raise HTTPException(404, str(error)) from None
        return ThresholdAnswer(tag=request.tag, before=before, threshold=request.threshold)

    @api.get(f"{prefix}/review/tags", tags=["review"])
    def tags(limit: Annotated[int, Query(ge=1, le=50)] = 20, language: _Language = "en") -> ReviewedTags:
        """The tags that people have judged."""
        found = [
            ReviewedTag(
                tag=one.key,
                name=one.name,
                verdicts=one.verdicts,
                yes=one.yes,
                threshold=one.threshold,
                best=CurvePoint(**one.best._asdict()) if one.best else None,
            )
            for one in review.reviewed(limit, language)
        ]
        return ReviewedTags(tags=found)


def _add_copies(api: APIRouter, prefix: str, copies: Copies) -> None:
    @api.get(f"{prefix}/similar/copies", tags=["similar pictures"])
    def groups(offset: _Offset = 0, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> CopyGroups:
        """Groups of pictures that are copies of each other, or nearly so."""
        total, found = copies.page(offset, limit)
        return CopyGroups(
            total=total,
            groups=[
                CopyGroup(
                    pictures=[CopyOfPicture(mediaId=one.media_id, storageUrl=one.path, size=one.size) for one in group]
                )
                for group in found
            ],
        )


def _estimate(told: Told) -> EstimateAnswer:
    best = told.best
    return EstimateAnswer(
        tag=told.key,
        verdicts=told.verdicts,
        yes=told.yes,
        judged=told.judged,
        needed=told.needed,
        threshold=told.threshold,
        now=CurvePoint(**told.now._asdict()) if told.now else None,
        best=best
        and Best(
            threshold=best.threshold,
            low=best.low,
            high=best.high,
            lowest=best.lowest,
            precision=_share(best.precision),
            recall=_share(best.recall),
            f1=best.f1,
        ),
        curve=[CurvePoint(**point._asdict()) for point in best.curve] if best else [],
        unscored=Missed(pictures=told.unscored, looked=told.looked, share=_share(told.missed)),
        lose=_changes(told.lose),
        gain=_changes(told.gain),
        command=_command(told.key, best.threshold) if best else None,
    )


def _command(key: str, threshold: float) -> str | None:
    """None for a tag that the flag cannot name: a comma stands between two rules."""
    if "," in key:
        return None
    rule = f"{key}={threshold:g}"
    return f"engine retag --threshold {rule if _PLAIN.fullmatch(key) else chr(34) + rule + chr(34)}"


def _share(share: Share) -> Estimated:
    return Estimated(value=share.value, low=share.low, high=share.high)


def _changes(change: Change) -> Changes:
    return Changes(pictures=change.pictures, some=list(change.some))
