"""Searching over HTTP, for programs: `GET /search` and what stands beside its results."""

from typing import Annotated

from fastapi import APIRouter, Query, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

from service.search.find import Search
from service.search.query import MAX_LENGTH, Code
from service.threads import own_threads

_THREADS = 4
_PATIENCE = 10.0

_Text = Annotated[str, Query(alias="q", max_length=MAX_LENGTH, description="docs/search.md", examples=["cat -dog"])]
_Language = Annotated[str, Query(alias="lang", max_length=35, description="BCP 47: of the names that are shown")]


class TagOfPicture(BaseModel):
    tag: str
    name: str = Field(description="in the language that was asked for")
    category: str
    score: float | None = Field(description="the best that a model gave, 0..1; null: only a person did")
    verdict: bool | None = Field(description="what a person said; null: nothing")
    counts: bool
    models: dict[str, float]


class Card(BaseModel):
    id: int
    path: str = Field(description="the contract's storageUrl")
    tags: list[TagOfPicture] = Field(description="the first four, those that were asked for before others")
    rating: str | None
    ratingName: str | None = Field(description="in the language that was asked for")


class Meaning(BaseModel):
    concept: str
    name: str
    via: str
    how: str
    keys: list[str]


class NameInQuery(BaseModel):
    text: str
    category: str | None
    found: list[Meaning] = Field(description="several where the name is ambiguous: pictures of any of them are found")
    near: list[str] = Field(description="what was perhaps meant, where the name means nothing")


class Mistake(BaseModel):
    at: int
    length: int
    reason: str
    code: Code = Field(description="the kind of mistake, which stays as it is when the reason is put otherwise")


class Part(BaseModel):
    text: str = Field(description="as it is written in a query")
    negative: bool
    category: str | None
    name: NameInQuery | None = Field(description="what it means, if it is a name")


class Found(BaseModel):
    total: int
    pictures: list[Card]
    query: str = Field(description="as it was understood")
    parts: list[Part] = Field(description="what must all hold")
    names: list[NameInQuery]
    mistakes: list[Mistake] = Field(description="what was left out, at its place in the query, and why")


class TagCount(BaseModel):
    tag: str
    name: str
    pictures: int


class CategoryFacet(BaseModel):
    category: str
    tags: list[TagCount]


class GroupFacet(BaseModel):
    path: str
    name: str
    pictures: int


class Facets(BaseModel):
    total: int
    categories: list[CategoryFacet]
    groups: list[GroupFacet]


def search_calls(search: Search) -> APIRouter:
    """The routes for programs."""
    api = APIRouter(
        prefix="/search",
        tags=["searching"],
        dependencies=[Security(HTTPBearer(auto_error=False))],
        route_class=own_threads(_THREADS, _PATIENCE),
    )

    @api.get("")
    def find(
        text: _Text = "",
        language: _Language = "en",
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 60,
    ) -> Found:
        """One page of the pictures that match. A mistake in the query is told, and the rest is still a search."""
        return Found(**search.find(text, offset=offset, limit=limit, language=language))

    @api.get("/facets")
    def facets(text: _Text = "", language: _Language = "en") -> Facets:
        """Which tags, groups and ratings the found pictures have, with how many of them."""
        return Facets(**search.facets(text, language))

    return api
