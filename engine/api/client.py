"""The media API over HTTP; the only file that knows httpx, and httpcore, on which httpx stands.

Requests go through httpcore itself. In single mode a picture is some fifty requests, and what httpx adds to each (its
own URL, headers, request and response) is a third of the time they cost here.

One event loop in a thread of its own carries all requests: the source asks for pages from its thread (`segment`), the
delivery runs as a coroutine on the loop itself (`run`, `post`). So every wait can be broken off at any time.

Proxies named in the environment are not used: the service is near this machine, and a proxy would see the token.
Redirects are not followed: they would carry the token to another address.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import httpcore
import httpx

from engine.api.addresses import ApiConfig
from engine.api.answers import Answer, NotNow, Reply, Yes, classify, shown_url
from engine.api.messages import MAX_ID, read_segment, segment_body
from engine.api.token import Token
from engine.certificates import trusted
from engine.errors import ApiAway, ApiError, ConfigError, Stopped, Unauthorized, WrongAddress
from engine.flow.channels import Stop
from engine.types import Media

T = TypeVar("T")
log = logging.getLogger(__name__)

CONNECT_S = 10.0
"""How long a connection may take to come about."""


class AddressBook(Protocol):
    """What remembers over all runs which addresses have ever said yes: the ledger."""

    def has_said_yes(self, address: str) -> bool: ...
    def note_yes(self, address: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Address:
    """An address in the forms in which it is needed, made once."""

    url: str
    shown: str
    origin: str  # scheme, host and port
    target: httpcore.URL
    headers: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, url: str) -> "_Address":
        """Raises `ConfigError` for an address that httpx does not take."""
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ConfigError(f"{shown_url(url)!r} is not an address of a media API: {error}") from None
        scheme, host = parsed.raw_scheme, parsed.raw_host
        headers = (
            (b"Host", parsed.netloc),
            (b"Content-Type", b"application/json; charset=UTF-8"),
            (b"Accept", b"application/json"),
            (b"Accept-Encoding", b"identity"),  # small answers, and no decompression bombs
            (b"User-Agent", b"deepdanbooru-engine"),
        )
        target = httpcore.URL(scheme=scheme, host=host, port=parsed.port, target=parsed.raw_path)
        return cls(url, shown_url(url), f"{parsed.scheme}://{parsed.netloc.decode()}", target, headers)


class MediaApi:
    """The client; one a run, to be closed. `segment` may be called from any thread, `post` only on the loop (`run`)."""

    def __init__(
        self,
        config: ApiConfig,
        token: Token,
        stop: Stop | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        book: AddressBook | None = None,
    ) -> None:
        """Nothing is sent yet. Raises `ConfigError` for a `ca_file` that is none. `book`: without it, of this run."""
        self.config = config
        self._addresses = {url: _Address.of(url) for url in config.urls}
        self._book = book
        self._token = token
        self._sleep = sleep
        self._stopping = stop or Stop()
        self._said_yes = {
            name
            for address in self._addresses.values()
            for name in (address.url, address.origin)
            if book and book.has_said_yes(name)
        }
        self._answered = {address.origin for address in self._addresses.values()} & self._said_yes
        self._most_listed = MAX_ID
        self._segments: set[concurrent.futures.Future[list[Media]]] = set()
        self._lock = threading.Lock()
        self._closing = False
        self._http = httpcore.AsyncConnectionPool(
            ssl_context=trusted(config.ca_file),
            max_connections=config.connections + 1,
            keepalive_expiry=5.0,  # httpx's default; servers close idle connections after 5 s and more
        )
        self._timeouts = {"timeout": {"connect": min(CONNECT_S, config.timeout_s)}}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api", daemon=True)
        self._thread.start()
        self._stopping.on_stop(self._break_off)

    def segment(self, start: int, limit: int) -> list[Media]:
        """The media with id >= `start`, ascending, about `limit` of them; [] at the end of the catalogue.

        Waits while the API says "not now". A limit above the ordinary one is given up at the first trouble.

        Raises:
            ApiError: with its kinds; the API cannot be worked with.
            Stopped: the run is ending.
        """
        future = self.run(self._segment(start, limit))
        with self._lock:
            self._segments.add(future)
        if self._stopping.is_set():
            future.cancel()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Stopped from None
        finally:
            future.cancel()  # if Ctrl-C ended the wait, end the request too
            with self._lock:
                self._segments.discard(future)

    async def post(self, body: bytes, key: str | None = None) -> Answer:
        """Send a body of records once and say what the answer means; `key` is its Idempotency-Key (bulk only).

        Raises:
            ApiError: with its kinds, as `classify` does.
        """
        answer, _ = await self._ask(self.config.post_url, body, key, self.config.max_answer_bytes)
        return answer

    async def lists(self) -> bool:
        """Whether the service lists its media at this moment, asked once; False where no address for that is known."""
        url = self.config.segment_url
        if url == self.config.post_url:
            return False
        with contextlib.suppress(ApiError):
            answer, _ = await self._ask(url, segment_body(0, 1), None, self.config.max_segment_bytes)
            return isinstance(answer, Yes)
        return False

    def has_said_yes(self, url: str) -> bool:
        """Whether this address has ever said yes to this ledger."""
        return url in self._said_yes

    def patience(self, url: str) -> float | None:
        """For how many seconds a service that gives no useful answer is asked again; None for ever.

        One that never answered is no service that went away, so somebody should look at its address soon.
        """
        if self.config.give_up_after_s is not None or self._addresses[url].origin in self._answered:
            return self.config.give_up_after_s
        return self.config.first_answer_s

    def gone(self, url: str, text: str, what: str, way_out: str) -> ApiError:
        """The error when `patience` is over. `text`: what came instead of a useful answer; `what` it did not do."""
        address = self._addresses[url]
        if address.origin in self._answered:
            return ApiAway(
                f"the media API at {address.shown} {what} for {self.patience(url):.0f} s ({text}): {way_out}"
            )
        return WrongAddress(
            f"{address.shown} has never answered ({text}): check the address (http or https, host, port) and that the "
            "service runs; --give-up-after SECONDS waits longer for one that is about to start"
        )

    def run(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the client's loop, from any thread."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()
            raise Stopped from None

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call something on the client's loop, from any thread; nothing happens once the client is closed."""
        with self._lock:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Break off what is under way and close all connections. Any thread, any number of times."""
        self._break_off()
        with self._lock:
            if self._closing:
                return
            self._closing = True
        # Outside the lock: the coroutines that end now may take it.
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join()
        with self._lock:
            self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()
        self._loop.stop()

    def _break_off(self) -> None:
        with self._lock:
            waiting = list(self._segments)
        for future in waiting:
            future.cancel()

    async def _segment(self, start: int, limit: int) -> list[Media]:
        url, backoff = self.config.segment_url, self.config.backoff
        began = self._loop.time()
        attempt = 0
        while True:
            limit = min(limit, self._most_listed)
            answer, reply = await self._ask(url, segment_body(start, limit), None, self.config.max_segment_bytes)
            if isinstance(answer, Yes):
                return read_segment(reply, start)
            if limit > self.config.segment_size:  # it may be the size that the service does not bear
                self._most_listed = self.config.segment_size
                log.info("%s: %s; from here on %d media a segment", shown_url(url), answer.text, self._most_listed)
                continue
            if not isinstance(answer, NotNow):
                raise ApiError(f"the media API at {reply.url} refuses to list its media: {reply.shown()}")
            patience = self.patience(url)
            left = None if patience is None else patience - (self._loop.time() - began)
            if left is not None and left <= 0:
                way_out = "run the same command again when it is back; nothing is lost"
                raise self.gone(url, answer.text, "did not list its media", way_out)
            delay = backoff.delay(attempt, answer.retry_after)
            attempt += 1
            log.warning("%s: %s; asking again in %.1f s", shown_url(url), answer.text, delay)
            await self._sleep(delay if left is None else min(delay, left))

    async def _ask(self, url: str, body: bytes, key: str | None, max_bytes: int) -> tuple[Answer, Reply]:
        """One request, and a second one if the token was renewed in the meantime."""
        sent = self._token.value
        try:
            return await self._ask_once(url, body, key, max_bytes)
        except Unauthorized:
            if self._token.value == sent and not self._token.reread():
                raise
            log.info("The token was refused; the token file holds another one now, which is used from here on.")
            return await self._ask_once(url, body, key, max_bytes)

    async def _ask_once(self, url: str, body: bytes, key: str | None, max_bytes: int) -> tuple[Answer, Reply]:
        address = self._addresses[url]
        try:
            async with asyncio.timeout(self.config.timeout_s):  # over the whole; httpcore's own are for each read
                reply = await self._request(address, body, key, max_bytes)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            return self._unanswered(address, error), Reply(address.shown, status=0)
        self._answered.add(address.origin)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s answered %d: %s", reply.url, reply.status, reply.shown())
        answer = classify(reply, ok_codes=self.config.ok_codes, said_yes=url in self._said_yes)
        if url not in self._said_yes and isinstance(answer, Yes):
            self._note_yes(address)
        return answer, reply

    def _note_yes(self, address: _Address) -> None:
        for name in {address.url, address.origin} - self._said_yes:
            self._said_yes.add(name)
            if self._book:
                self._book.note_yes(name)

    async def _request(self, address: _Address, body: bytes, key: str | None, max_bytes: int) -> Reply:
        headers = [*address.headers, (b"Content-Length", b"%d" % len(body))]
        if key:
            headers.append((b"Idempotency-Key", key.encode()))
        if self._token.value:
            headers.append((b"Authorization", b"Bearer " + self._token.value.encode()))
        request = httpcore.Request(b"POST", address.target, headers=headers, content=body, extensions=self._timeouts)
        response = await self._http.handle_async_request(request)
        try:
            answered = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            encoding = answered.get(b"content-encoding", "").strip().lower()
            encoded = encoding not in ("", "identity")
            received = bytearray()
            async for part in response.aiter_stream():
                received += part
                if encoded or len(received) > max_bytes:
                    break
        finally:
            await response.aclose()
        return Reply(
            url=address.shown,
            status=response.status,
            body=b"" if encoded else bytes(received[:max_bytes]),
            content_type=answered.get(b"content-type", ""),
            retry_after=answered.get(b"retry-after"),
            cut=len(received) > max_bytes,
            encoding=encoding if encoded else "",
            scrub=self._token.scrub,
        )

    def _unanswered(self, address: _Address, error: Exception) -> NotNow:
        """No answer came: not now, unless waiting cannot help."""
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise ApiError(
                    f"the certificate of {address.shown} is not trusted ({cause.verify_message}): "
                    "name the file of its certificate authority (ca_file)"
                ) from None
        reached = not isinstance(error, httpcore.ConnectError | httpcore.ConnectTimeout)
        return NotNow(self._token.scrub(self._why_unanswered(address, error)), reached=reached)

    def _why_unanswered(self, address: _Address, error: Exception) -> str:
        parts = urlsplit(address.url)
        for cause in _causes(error):
            if isinstance(cause, socket.gaierror):
                return f"the name {parts.hostname} is not known"
            if isinstance(cause, ssl.SSLError):
                return "there is no TLS there: is it http://?" if _is_plain(cause) else f"no TLS: {cause.reason}"
            if isinstance(cause, ConnectionRefusedError):
                return f"nothing listens at {address.origin.partition('://')[2]}"
        if isinstance(error, httpcore.ConnectTimeout):
            return f"no connection within {self._timeouts['timeout']['connect']:.0f} s"
        if isinstance(error, TimeoutError | httpcore.TimeoutException):
            return f"no answer within {self.config.timeout_s:.0f} s"
        text = f"no answer: {str(error) or type(error).__name__}"
        # What a TLS server makes of plain HTTP: a TLS alert, or it hangs up.
        tls = parts.scheme == "http" and isinstance(error, httpcore.RemoteProtocolError | httpcore.ReadError)
        return f"{text}: is it https://?" if tls and address.origin not in self._answered else text


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it; of several attempts to connect, the first."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_plain(error: ssl.SSLError) -> bool:
    """Whether this is what OpenSSL makes of a server that speaks plain HTTP."""
    return error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
