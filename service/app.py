"""The ASGI application: the media API, tagging and the web page, all behind the guard."""

from collections.abc import Mapping
from types import MappingProxyType

from fastapi import FastAPI

from service.api import answer_errors_in_sentences, media_api
from service.catalogue import Catalogue
from service.copies import Copies
from service.dictionary import Dictionary
from service.edits import edits, page_edits
from service.guard import Access, Guard
from service.pages import pages
from service.review.review import Review
from service.review_calls import page_review, review_calls
from service.search.find import Search
from service.search_calls import search_calls
from service.similar import Similar
from service.store import Store
from service.tag_calls import tag_calls
from service.tagging import PictureTagger, tagging
from service.thumbs import Thumbnails
from service.verdicts import Verdicts


def build_app(
    search: Search,
    catalogue: Catalogue,
    store: Store,
    verdicts: Verdicts,
    review: Review,
    similar: Similar,
    copies: Copies,
    dictionary: Dictionary,
    thumbnails: Thumbnails,
    *,
    access: Access,
    tagger: PictureTagger | None = None,
    categories: Mapping[str, str] = MappingProxyType({}),
) -> FastAPI:
    """The application on an open database, of which all parts are made.

    `access`: who may ask it. `tagger`: what tags pictures that are sent, and `categories`: of its tags.
    """
    # FastAPI's own documentation pages load their script from another host; pages.py has one that does not.
    app = FastAPI(title="Media API", version="1", docs_url=None, redoc_url=None)
    app.include_router(media_api(catalogue, store))
    app.include_router(edits(verdicts, search))
    app.include_router(page_edits(verdicts, search))
    app.include_router(review_calls(review, copies))
    app.include_router(page_review(review, copies))
    app.include_router(search_calls(search))
    app.include_router(tag_calls(dictionary))
    app.include_router(tagging(tagger, categories, similar, catalogue))
    app.include_router(pages(search, catalogue, thumbnails))
    answer_errors_in_sentences(app)
    app.add_middleware(Guard, access=access)
    return app
