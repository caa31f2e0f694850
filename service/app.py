"""The ASGI application: the media API and the web page, both behind the guard."""

from fastapi import FastAPI

from service.api import answer_errors_in_sentences, media_api
from service.catalogue import Catalogue
from service.database import Database
from service.guard import Access, Guard
from service.pages import pages
from service.store import Store
from service.thumbs import Thumbnails


def build_app(
    database: Database, catalogue: Catalogue, store: Store, thumbnails: Thumbnails, *, access: Access
) -> FastAPI:
    """The application on an open database. `access`: who may ask it."""
    # FastAPI's own documentation pages load their script from another host; pages.py has one that does not.
    app = FastAPI(title="Media API", version="1", docs_url=None, redoc_url=None)
    app.include_router(media_api(catalogue, store))
    app.include_router(pages(database, catalogue, thumbnails))
    answer_errors_in_sentences(app)
    app.add_middleware(Guard, access=access)
    return app
