"""Threads for one kind of request: however slow that kind is, it keeps no other kind waiting."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from fastapi import HTTPException
from fastapi.routing import APIRoute

BUSY = "the service is busy with other requests of this kind: try again in a moment"


def own_threads(count: int, patience: float | None = None) -> type[APIRoute]:
    """A route class for routers whose functions share `count` threads, apart from all others.

    `patience`: seconds that a request waits for one of the threads before the answer is 503; None waits for ever.
    """
    threads = anyio.CapacityLimiter(count)

    class Route(APIRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 - FastAPI's
            async def in_a_thread(**arguments: Any) -> Any:  # noqa: ANN401 - whatever the endpoint takes and returns
                request = object()
                with anyio.move_on_after(patience):
                    await threads.acquire_on_behalf_of(request)
                    try:
                        # Not cancelled by the deadline: what runs in a thread runs to its end.
                        with anyio.CancelScope(shield=True):
                            return await anyio.to_thread.run_sync(
                                partial(endpoint, **arguments), limiter=anyio.CapacityLimiter(1)
                            )
                    finally:
                        threads.release_on_behalf_of(request)
                raise HTTPException(503, BUSY, {"Retry-After": "2"})

            in_a_thread.__signature__ = inspect.signature(endpoint)  # type: ignore[attr-defined]
            for name in ("__name__", "__doc__", "__module__"):
                setattr(in_a_thread, name, getattr(endpoint, name))
            super().__init__(path, in_a_thread, **options)

    return Route
