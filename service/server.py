"""The HTTP server: its listening socket, its addresses, and what it bears of clients that open and never ask."""

import asyncio
import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.errors import ServiceError
from service.guard import is_loopback

MAX_CONNECTIONS = 256
"""At once. A process may have 1,024 files open by default, and the engine in it needs some itself."""
RESERVED = 64
"""Further connections for this machine alone: an engine in this process must get through, whoever else asks."""
REQUEST_SECONDS = 10.0
"""A connection whose request line and headers have not all come after so many seconds is closed."""


def bind(host: str, port: int) -> socket.socket:
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


def urls(listening: socket.socket) -> list[str]:
    """The addresses that reach the socket, that for clients on this machine first.

    A socket that is bound to every interface has one for each: they are asked of the system.
    """
    host, port = listening.getsockname()[:2]
    own = ipaddress.ip_address(host.partition("%")[0])
    if not own.is_unspecified:
        return [_url(host, port)]
    families = {listening.family}
    if own.version == 6 and not listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        families.add(socket.AF_INET)
    found = [
        _url(address.address, port)
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in families and _reachable(address.address)
    ]
    return [_url("::1" if own.version == 6 else "127.0.0.1", port), *found]


def _reachable(address: str) -> bool:
    """Whether a browser elsewhere could use this address: a link-local one needs the name of an interface there."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return not (parsed.is_loopback or parsed.is_link_local)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def serving(app: Any, listening: socket.socket, *, access_log: bool) -> Iterator[None]:  # noqa: ANN401 - any ASGI app
    """Serves the application from a daemon thread while the block runs."""
    # The socket listens already, so a request that comes before the thread is ready just waits.
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
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


class Connection(H11Protocol):
    """One client's connection. There is a limit to their number, and to the time that a request takes to arrive.

    Where there are too many, the one that has been waiting longest for a request gives way; a new one is refused only
    if none is waiting.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late: asyncio.TimerHandle | None = None
        self._waits_since = self.loop.time()
        self._expect()
        limit = MAX_CONNECTIONS + (RESERVED if self.client and is_loopback(self.client[0]) else 0)
        if len(self.connections) > limit:
            waiting = [c for c in self.connections if isinstance(c, Connection) and c._waits() and c is not self]
            # First those that never asked anything; an engine's connection rests between two requests.
            first = min(waiting, key=lambda c: (c.cycle is not None, c._waits_since), default=self)
            first.transport.abort()
            self.connections.discard(first)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waits():
            self._expect()
        else:
            self._expect_nothing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._waits_since = self.loop.time()
        super().on_response_complete()  # from here on uvicorn's limit for connections at rest holds

    def _waits(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
