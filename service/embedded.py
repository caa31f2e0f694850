"""The embedded media API as a context manager, used by `engine serve` and `engine run --library`."""

import gc
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import ModelError
from engine.model.folder import open_model
from service.app import build_app
from service.catalogue import Catalogue
from service.copies import Copies
from service.database import Database
from service.dictionary import Dictionary, DictionaryError, beside
from service.errors import ServiceError
from service.guard import Access, is_loopback
from service.libraries import database_of
from service.names import DictionaryNames
from service.rescan import Rescan
from service.review.review import Review
from service.search.find import Search
from service.server import bind, serving, urls
from service.similar import Similar
from service.store import Store
from service.tagging import PictureTagger
from service.thumbs import Thumbnails
from service.verdicts import Verdicts


@dataclass(frozen=True)
class Running:
    """A service that listens.

    Attributes:
        url: the page's address on this machine; the four other URLs are the contract's calls.
        urls: all addresses of the page: those of each interface, where it is bound to all.
        token: what the calls want as Bearer; never shown.
        identity: the library's, which stays when the folder or the database is renamed.
        pictures: how many pictures the library held at the start.
        on_change: takes what is to be called, by another thread, when pictures came, changed, were moved or vanished.
    """

    url: str
    urls: Sequence[str]
    segment_url: str
    recognition_url: str
    recognition_bulk_url: str
    recognition_replace_url: str
    token: str = field(repr=False)
    db: Path
    identity: str
    pictures: int
    on_change: Callable[[Callable[[], None]], None] = field(repr=False)


@contextmanager
def embedded(
    library: Path,
    *,
    db: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    password: str | None = None,
    model: Path | None = None,
    tagger: PictureTagger | None = None,
    rescan: float = 60.0,
    access_log: bool = False,
) -> Iterator[Running]:
    """Scans the library, serves it from a daemon thread, and stops serving at the end of the block.

    Args:
        library: the folder of pictures.
        db: the database file; by default one in the user's data folder, by the library's path.
        host: the address to bind; anything but loopback makes the page ask for a password.
        port: 0 takes a free one.
        token: what clients must send; a random one when None, to be had from the `Running`.
        password: what opens the page, beside the token, where it is not bound to loopback.
        model: a model folder, which tells the tags' categories.
        tagger: what tags the pictures that are sent to POST /tag, with that model; None refuses them.
        rescan: seconds between two looks for new files, beside those at once where the system tells of changes; 0 never
            looks again.
        access_log: log every request.

    Raises:
        ServiceError: no such folder, a model folder, a database or an address that cannot be used.
    """
    Catalogue.check(library)
    token = token or secrets.token_urlsafe(32)
    categories = _categories(model) if model else None
    access = Access(token=token, password=password, loopback=is_loopback(host))
    with (
        closing(Database(database_of(library, db))) as database,
        closing(Thumbnails(database.path.with_suffix(".thumbs.db"))) as thumbnails,
        closing(Similar(database.path)) as similar,
        _dictionary(database.path) as dictionary,
    ):
        catalogue = Catalogue(database, library)
        pictures = catalogue.scan()
        store = Store(database, categories)
        search = Search(database, DictionaryNames(dictionary), similar.neighbours)
        verdicts = Verdicts(database, store)
        app = build_app(
            search,
            catalogue,
            store,
            verdicts,
            Review(database, search, verdicts, similar),
            similar,
            Copies(database, search.index, similar),
            dictionary,
            thumbnails,
            access=access,
            tagger=tagger,
            categories=categories or {},
        )
        looks = Rescan(catalogue, rescan)
        with (
            bind(host, port) as listening,
            serving(app, listening, access_log=access_log),
            looks.looking(),
        ):
            url, *others = urls(listening)
            # What is there by now stays. The garbage collector would go through it again and again while requests bring
            # thousands of records, which took a tenth of the time of storing them.
            gc.freeze()
            yield Running(
                url=url,
                urls=(url, *others),
                segment_url=f"{url}/media/segment",
                recognition_url=f"{url}/media/recognition",
                recognition_bulk_url=f"{url}/media/recognition/bulk",
                recognition_replace_url=f"{url}/media/recognition/replace",
                token=token,
                db=database.path,
                identity=database.identity,
                pictures=pictures,
                on_change=looks.on_change,
            )


def _dictionary(database: Path) -> Dictionary:
    """The library's own, which begins as the shipped one."""
    try:
        return Dictionary.open(beside(database))
    except DictionaryError as error:
        raise ServiceError(str(error)) from error


def _categories(model: Path) -> dict[str, str]:
    """The category of each tag of a model folder."""
    try:
        return open_model(model).category_by_tag
    except ModelError as error:
        raise ServiceError(str(error)) from error
