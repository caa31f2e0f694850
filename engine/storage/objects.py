"""Pictures in an S3 bucket (MinIO and its like included), by obstore; needs the extra `s3`."""

from datetime import timedelta

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from engine.errors import StorageError, Unreadable
from engine.storage.keys import decoded_key, key_parts, short, too_large
from engine.types import FileState

_RETRY = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}  # obstore's own: 10 times, 180 s


class S3Storage:
    """`s3://bucket[/prefix]`. Endpoint, region and keys come from the AWS_* variables, which obstore reads itself."""

    def __init__(self, root: str) -> None:
        try:
            # Plain HTTP only happens where AWS_ENDPOINT_URL says so: a NAS in one's own network.
            self._store = S3Store.from_url(root, client_options={"allow_http": True}, retry_config=_RETRY)
        except (BaseError, ValueError) as error:
            raise StorageError(f"The storage {root} cannot be used: {_first_line(error)}") from error

    def read(self, key: str, *, max_bytes: int) -> bytes:
        """Returns the whole object of a key; percent signs are literal first, and decoded if that object is missing."""
        parts = key_parts(key, windows=False)
        try:
            return self._read(parts, key, max_bytes)
        except Unreadable as error:
            decoded = decoded_key(key)
            if not error.missing or decoded is None:
                raise
        return self._read(key_parts(decoded, windows=False), key, max_bytes)

    def state(self, key: str) -> FileState | None:
        """Size and time of a key's object; None where there is none."""
        try:
            head = obstore.head(self._store, "/".join(key_parts(key, windows=False)))
        except (Unreadable, OSError, BaseError, ValueError):
            return None
        return FileState(head["size"], head["last_modified"].timestamp())

    def root_alive(self) -> bool:
        """Tells whether the bucket answers and holds anything."""
        try:
            return any(batch for batch in obstore.list(self._store, chunk_size=1))
        except (PermissionDeniedError, UnauthenticatedError):
            return True  # the bucket answers; these keys may read but not list
        except BaseError:
            return False

    def _read(self, parts: tuple[str, ...], key: str, max_bytes: int) -> bytes:
        try:
            answer = obstore.get(self._store, "/".join(parts))
            size = answer.meta["size"]
            if size > max_bytes:
                raise too_large(size, max_bytes)
            return bytes(answer.bytes())
        except (FileNotFoundError, NotFoundError) as error:
            raise Unreadable(f"no such object: {short(key)}", missing=True) from error
        except (BaseError, ValueError) as error:
            raise Unreadable(f"cannot read {short(key)}: {_first_line(error)}", fleeting=True) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
