"""The ASGI application: the media API and the web page, both behind the guard."""

from fastapi import FastAPI

from service.api import answer_errors_in_sentences, media_api
from service.catalogue import Catalogue
from service.database import Database
from service.guard import Guard
from service.pages import pages
from service.store import Store


def build_app(database: Database, catalogue: Catalogue, store: Store, *, token: str, loopback: bool) -> FastAPI:
    """The application on an open database. `loopback`: only this machine can reach the address it is bound to."""
    # FastAPI's own documentation pages load their script from another host; pages.py has one that does not.
    app = FastAPI(title="Media API", version="1", docs_url=None, redoc_url=None)
    app.include_router(media_api(catalogue, store))
    app.include_router(pages(database, catalogue))
    answer_errors_in_sentences(app)
    app.add_middleware(Guard, token=token, loopback=loopback)
    return app
