"""How a storage is reached: what its address does not say."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

LOOK = 5.0
"""Seconds without progress after which a look at a storage as a whole ends: whoever starts a command waits for it."""


class Token(Protocol):
    """The media API's token, which may be renewed in its file."""

    @property
    def value(self) -> str: ...
    def reread(self) -> bool: ...


@dataclass(frozen=True)
class Access:
    """The settings that storages share.

    Attributes:
        timeout_s: the longest time without progress of a request; a folder knows none.
        ca_file: certificates (PEM) trusted besides the system's own.
        token: sent with each request to `token_url`'s origin (scheme, host and port), and to no other.
        environment: where the variables of AWS are looked up.
    """

    timeout_s: float = 120.0
    ca_file: Path | None = None
    token: Token | None = field(default=None, repr=False)
    token_url: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
