"""How much failure a run bears: beyond it something is wrong with more than the media."""

import threading

from engine.errors import EngineError

SHARE_COUNTS_FROM = 100
"""Failures before a share of them means anything."""


class FailureBudget:
    """Counts media and failures; raises when `limit` is passed: a count (`500`) or a share (`20%`). None bears all."""

    def __init__(self, limit: str | None) -> None:
        self._limit = limit
        self._failed = self._media = 0
        self._lock = threading.Lock()

    def passed(self, media: int = 1) -> None:
        """So many media went through."""
        with self._lock:
            self._media += media

    def failed(self, reason: str) -> None:
        """One more medium failed. Raises `EngineError` when that is one too many."""
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
                    f"{self._failed:,} of {self._media:,} media failed, more than --max-failures {self._limit}; the "
                    f"last: {reason}. `engine status` shows the reasons; mend the cause, then use --retry-failed"
                )
