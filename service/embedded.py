"""The embedded media API as a context manager, used by `engine serve` and `engine run --library`."""

import errno
import ipaddress
import logging
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from engine.errors import ModelError
from engine.model.folder import open_model
from service.app import build_app
from service.catalogue import SETTLE_SECONDS, Catalogue
from service.database import Database, default_path
from service.errors import ServiceError
from service.guard import is_loopback
from service.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Running:
    """A service that listens.

    Attributes:
        url: the page's address; the three other URLs are the contract's calls.
        token: what the calls want as Bearer; never shown.
        pictures: how many pictures the library held at the start.
    """

    url: str
    segment_url: str
    recognition_url: str
    recognition_bulk_url: str
    token: str = field(repr=False)
    db: Path
    pictures: int


@contextmanager
def embedded(
    library: Path,
    *,
    db: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    model: Path | None = None,
    rescan: float = 60.0,
    access_log: bool = False,
) -> Iterator[Running]:
    """Scans the library, serves it from a daemon thread, and stops serving at the end of the block.

    Args:
        library: the folder of pictures.
        db: the database file; by default one in the user's data folder, by the library's path.
        host: the address to bind; anything but loopback makes the page ask for the token as well.
        port: 0 takes a free one.
        token: what clients must send; a random one when None, to be had from the `Running`.
        model: a model folder, which tells the tags' categories.
        rescan: seconds between two looks for new files; 0 never looks again.
        access_log: log every request.

    Raises:
        ServiceError: no such folder, a model folder, a database or an address that cannot be used.
    """
    Catalogue.check(library)
    token = token or secrets.token_urlsafe(32)
    categories = _categories(model) if model else None
    with closing(Database(db or default_path(library))) as database:
        catalogue = Catalogue(database, library)
        pictures = catalogue.scan()
        app = build_app(database, catalogue, Store(database, categories), token=token, loopback=is_loopback(host))
        with _bind(host, port) as listening, _serving(app, listening, access_log), _rescanning(catalogue, rescan):
            url = _url(listening)
            yield Running(
                url=url,
                segment_url=f"{url}/media/segment",
                recognition_url=f"{url}/media/recognition",
                recognition_bulk_url=f"{url}/media/recognition/bulk",
                token=token,
                db=database.path,
                pictures=pictures,
            )


def _categories(model: Path) -> dict[str, str]:
    """The category of each tag of a model folder."""
    try:
        return open_model(model).category_by_tag
    except ModelError as error:
        raise ServiceError(str(error)) from error


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket. It is made here and not by uvicorn, so that a failure can be told in one sentence."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With a named protocol asyncio turns Nagle's algorithm off, which would delay each answer by 40 ms.
        listening = socket.socket(family, kind, protocol)
    except socket.gaierror as error:
        raise ServiceError(f"the address {host} is unknown: choose another with --host") from error
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        reasons = {
            errno.EADDRINUSE: f"port {port} is in use: choose another with --port",
            errno.EADDRNOTAVAIL: f"{host} is not an address of this machine: choose another with --host",
        }
        otherwise = f"cannot listen on {host}, port {port}: {error.strerror}; choose another with --port"
        raise ServiceError(reasons.get(error.errno or 0, otherwise)) from error
    return listening


def _url(listening: socket.socket) -> str:
    """The address for clients on this machine: loopback where the socket is bound to every interface."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _serving(app: FastAPI, listening: socket.socket, access_log: bool) -> Iterator[None]:
    # The socket listens already, so a request that comes before the thread is ready just waits.
    config = uvicorn.Config(
        app,
        lifespan="off",
        access_log=access_log,
        log_level="info" if access_log else "warning",
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="service", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _rescanning(catalogue: Catalogue, seconds: float) -> Iterator[None]:
    """Looks for new and vanished files every so many `seconds` while the block runs; 0 never does."""
    ending = threading.Event()

    def rescan() -> None:
        while not ending.wait(seconds):
            try:
                catalogue.scan(SETTLE_SECONDS)
            except Exception as error:  # the next scan may succeed
                _log.warning("looking for new pictures failed: %s", error)

    if seconds <= 0:
        yield
        return
    thread = threading.Thread(target=rescan, name="rescan", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(timeout=5)  # a scan that hangs on a network share must not keep the service from ending
