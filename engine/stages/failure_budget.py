"""How much failure a run bears: beyond it something is wrong with more than the media."""

import threading

from engine.errors import EngineError
from engine.types import Media

SHARE_COUNTS_FROM = 100
"""Failures before a share of them means anything."""


class FailureBudget:
    """Counts media and failures; raises when `limit` is passed: a count (`500`) or a share (`20%`). None bears all.

    `shares=False` leaves shares out: where media that failed before are tried again, failing is the rule.
    """

    def __init__(self, limit: str | None, *, shares: bool = True) -> None:
        self._limit = limit if shares or not str(limit).endswith("%") else None
        self._failed = self._media = 0
        self._lock = threading.Lock()

    def passed(self) -> None:
        """A medium was read and decoded."""
        with self._lock:
            self._media += 1

    def failed(self, media: Media, reason: str) -> None:
        """A medium failed. Raises `EngineError` when that is one too many."""
        with self._lock:
            self._failed += 1
            self._media += 1
            if self._limit is None:
                return
            number = float(self._limit.rstrip("%"))
            if self._limit.endswith("%"):
                spent = self._failed >= SHARE_COUNTS_FROM and 100 * self._failed > number * self._media
            else:
                spent = self._failed > number
            if spent:
                raise EngineError(
                    f"{self._failed:,} of {self._media:,} media failed, more than --max-failures {self._limit}; "
                    f"the last was {media.storage_url}: {reason}. `engine status` shows the reasons; "
                    "mend the cause, then use --retry-failed"
                )
