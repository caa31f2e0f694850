"""Every error the engine raises on purpose. A message is one sentence for the user: the item, the limit, the way out.

EngineError                 the run cannot go on: exit code 1
├── ConfigError             a setting is wrong or settings contradict each other
├── ModelError              the model folder, a manifest, a precision
├── SessionError            ONNX Runtime: no such device, a missing library, out of memory
├── LedgerError             the state file: locked, corrupt, full, another fingerprint
├── StorageError            the storage as a whole: an unmounted share, wrong keys, an address where nothing answers
└── ApiError                the media API, as a whole
    ├── WrongAddress        3xx, 404, 405, an HTML page, or nothing that ever answered: a typo or a login page
    ├── Unauthorized        the token is missing, wrong or expired
    └── ApiAway             no useful answer for longer than the user wants to wait

MediumError                 one medium's outcome, never the run's end
├── Unreadable              no such file, a key that would leave the root, too large, a broken connection (`kind`)
├── Undecodable             a truncated or broken picture, too many pixels: failed
└── NotAPicture             a video, a sidecar: skipped, not failed

Stopped                     the run is ending; a stage that sees it leaves quietly
"""

from enum import Enum


class Kind(Enum):
    """What is wrong when a storage cannot be read: what helps differs with it."""

    MISSING = "missing"  # there is no such file
    DENIED = "denied"  # the storage says that this file may not be read
    REFUSED = "refused"  # the key or the file itself: a hostile name, a folder, too large; no wait helps
    MISCONFIGURED = "misconfigured"  # keys, bucket, address, certificate, clock: somebody must mend a setting
    TRANSIENT = "transient"  # not now: overloaded, an I/O error, a connection that broke off
    AWAY = "away"  # nothing answers, or the root is not there


class EngineError(Exception):
    """The run cannot go on; `str(error)` is the whole sentence for the user."""


class ConfigError(EngineError):
    """A setting is wrong or settings contradict each other."""


class ModelError(EngineError):
    """The model folder cannot be used: missing, half, from the future, or not what its manifest says."""


class SessionError(EngineError):
    """ONNX Runtime cannot do what was asked: device, library or memory."""


class LedgerError(EngineError):
    """The state file cannot be used: locked by another run, corrupt, full, or made for another model."""


class StorageError(EngineError):
    """The storage as a whole cannot be read; `kind` and `retry_after` as of `Unreadable`."""

    def __init__(self, message: str, kind: Kind = Kind.AWAY, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


class ApiError(EngineError):
    """The media API as a whole cannot be worked with."""


class WrongAddress(ApiError):
    """What answers at this URL is not the media API, or nothing has ever answered there."""


class Unauthorized(ApiError):
    """The API refuses the token."""


class ApiAway(ApiError):
    """The API gave no useful answer for longer than allowed."""


class MediumError(Exception):
    """One medium cannot be tagged; `str(error)` is the reason kept in the ledger."""


class Unreadable(MediumError):
    """The bytes of a medium cannot be had.

    Attributes:
        kind: what is wrong.
        retry_after: seconds after which the storage wants to be asked again, if it named them.
    """

    def __init__(self, message: str, kind: Kind = Kind.REFUSED, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after

    @property
    def missing(self) -> bool:
        """There is no such file."""
        return self.kind is Kind.MISSING

    @property
    def fleeting(self) -> bool:
        """What went wrong may be so only for the moment: another try is worth it."""
        return self.kind is not Kind.REFUSED


class Undecodable(MediumError):
    """The bytes are a picture that cannot be decoded within the limits."""


class NotAPicture(MediumError):
    """The bytes are no picture at all; the medium is skipped."""


class Stopped(Exception):
    """The run is ending."""


def first_line(error: BaseException, longest: int = 300) -> str:
    """The first line of what a library says, for the end of a sentence; the error's type where it says nothing."""
    return str(error).strip().partition("\n")[0].strip()[:longest] or type(error).__name__
