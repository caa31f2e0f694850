"""The media API over HTTP; the only file that knows httpx.

One event loop in a thread of its own carries all requests: the source asks for pages from its thread (`segment`), the
delivery runs as a coroutine on the loop itself (`run`, `post`). So every wait can be broken off at any time.

Proxies named in the environment are not used: the service is near this machine, and a proxy would see the token.
Redirects are not followed: they would carry the token to another address.
"""

import asyncio
import concurrent.futures
import logging
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import httpx

from engine.api.addresses import ApiConfig
from engine.api.answers import Answer, NotNow, Reply, Yes, classify, shown_url
from engine.api.messages import read_segment, segment_body
from engine.api.token import Token
from engine.errors import ApiAway, ApiError, ConfigError, Stopped, Unauthorized
from engine.flow.channels import Stop
from engine.types import Media

T = TypeVar("T")
log = logging.getLogger(__name__)


class MediaApi:
    """The client; one a run, to be closed. `segment` may be called from any thread, `post` only on the loop (`run`)."""

    def __init__(
        self,
        config: ApiConfig,
        token: Token,
        stop: Stop | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Nothing is sent yet. Raises `ConfigError` for a `ca_file` that is none."""
        self.config = config
        self._token = token
        self._sleep = sleep
        self._stopping = stop or Stop()
        self._said_yes: set[str] = set()
        self._segments: set[concurrent.futures.Future[list[Media]]] = set()
        self._lock = threading.Lock()
        self._closing = False
        self._http = httpx.AsyncClient(
            timeout=config.timeout_s,
            limits=httpx.Limits(max_connections=config.connections + 1),
            verify=_trust(config.ca_file),
            trust_env=False,
            follow_redirects=False,
            headers={
                "Content-Type": "application/json; charset=UTF-8",
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # small answers, and no decompression bombs
                "User-Agent": "deepdanbooru-engine",
            },
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api", daemon=True)
        self._thread.start()
        self._stopping.on_stop(self._break_off)

    def segment(self, start: int, limit: int) -> list[Media]:
        """The media with id >= `start`, ascending, about `limit` of them; [] at the end of the catalogue.

        Waits while the API says "not now".

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
            future.cancel()  # where Ctrl-C broke off the wait
            with self._lock:
                self._segments.discard(future)

    async def post(self, body: bytes, key: str | None = None) -> Answer:
        """Send a body of records once and say what the answer means; `key` is its Idempotency-Key (bulk only).

        Raises:
            ApiError: with its kinds, as `classify` does.
        """
        headers = {"Idempotency-Key": key} if key else {}
        answer, _ = await self._ask(self.config.post_url, body, headers, self.config.max_answer_bytes)
        return answer

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
        # Outside the lock: what ends on the loop's thread may want it.
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
        url, backoff, patience = self.config.segment_url, self.config.backoff, self.config.give_up_after_s
        began = self._loop.time()
        attempt = 0
        while True:
            answer, reply = await self._ask(url, segment_body(start, limit), {}, self.config.max_segment_bytes)
            if isinstance(answer, Yes):
                return read_segment(reply, start)
            if not isinstance(answer, NotNow):
                raise ApiError(f"the media API at {reply.url} refuses to list its media: {reply.shown()}")
            left = None if patience is None else patience - (self._loop.time() - began)
            if left is not None and left <= 0:
                raise ApiAway(
                    f"the media API at {shown_url(url)} did not list its media for {patience:.0f} s "
                    f"({answer.text}): run the same command again when it is back; nothing is lost"
                )
            delay = backoff.delay(attempt, answer.retry_after)
            attempt += 1
            log.warning("%s: %s; asking again in %.0f s", shown_url(url), answer.text, delay)
            await self._sleep(delay if left is None else min(delay, left))

    async def _ask(self, url: str, body: bytes, headers: dict[str, str], max_bytes: int) -> tuple[Answer, Reply]:
        """One request, and a second one if the token was renewed in the meantime."""
        sent = self._token.value
        try:
            return await self._ask_once(url, body, headers, max_bytes)
        except Unauthorized:
            if self._token.value == sent and not self._token.reread():
                raise
            log.info("The token was refused; the token file holds another one now, which is used from here on.")
            return await self._ask_once(url, body, headers, max_bytes)

    async def _ask_once(self, url: str, body: bytes, headers: dict[str, str], max_bytes: int) -> tuple[Answer, Reply]:
        try:
            async with asyncio.timeout(self.config.timeout_s):  # httpx's own limits are for each read, not the whole
                reply = await self._request(url, body, headers, max_bytes)
        except (httpx.TransportError, httpx.DecodingError, TimeoutError, OSError) as error:
            return self._unanswered(url, error), Reply(shown_url(url), status=0)
        log.debug("%s answered %d: %s", reply.url, reply.status, reply.shown())
        answer = classify(reply, ok_codes=self.config.ok_codes, said_yes=url in self._said_yes)
        if isinstance(answer, Yes):
            self._said_yes.add(url)
        return answer, reply

    async def _request(self, url: str, body: bytes, headers: dict[str, str], max_bytes: int) -> Reply:
        if self._token.value:
            headers = {**headers, "Authorization": f"Bearer {self._token.value}"}
        async with self._http.stream("POST", url, content=body, headers=headers) as response:
            received = bytearray()
            async for part in response.aiter_bytes():
                received += part
                if len(received) > max_bytes:
                    break
            return Reply(
                url=shown_url(url),
                status=response.status_code,
                body=bytes(received[:max_bytes]),
                content_type=response.headers.get("content-type", ""),
                retry_after=response.headers.get("retry-after"),
                cut=len(received) > max_bytes,
                scrub=self._token.scrub,
            )

    def _unanswered(self, url: str, error: Exception) -> NotNow:
        """No answer came: not now, unless waiting cannot help."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise ApiError(
                    f"the certificate of {shown_url(url)} is not trusted ({cause.verify_message}): "
                    "name the file of its certificate authority (ca_file)"
                ) from None
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, TimeoutError | httpx.ReadTimeout):
            return NotNow(f"no answer within {self.config.timeout_s:.0f} s")
        text = self._token.scrub(str(error)) or type(error).__name__
        return NotNow(f"no answer: {text}", reached=not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout))


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    """What is trusted: the certificates Python ships with, those of the system (a company's own), and `ca_file`."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the certificate file {ca_file} cannot be used: {error.strerror or error}") from None
    return context
