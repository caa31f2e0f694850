"""Pictures in an S3 bucket (MinIO and its like included), by obstore; needs the extra `s3`."""

from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from engine.errors import StorageError, Unreadable, first_line
from engine.storage.keys import key_parts, short, too_large, with_spellings
from engine.types import FileState

_RETRY = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}  # obstore's own: 10 times, 180 s


class S3Storage:
    """`s3://bucket[/prefix]`. Endpoint, region and keys come from the AWS_* variables, which obstore reads itself."""

    def __init__(self, root: str) -> None:
        try:
            # Plain HTTP only happens where AWS_ENDPOINT_URL says so: a NAS in one's own network.
            self._store = S3Store.from_url(root, client_options={"allow_http": True}, retry_config=_RETRY)
        except (BaseError, ValueError) as error:
            raise StorageError(f"the storage {root} cannot be used: {first_line(error)}") from error

    def read(self, key: str, *, max_bytes: int) -> bytes:
        """Returns the whole object of a key; percent signs are literal first, and decoded if that object is missing."""
        return with_spellings(key, lambda spelled: self._read(_path(spelled), key, max_bytes))

    def state(self, key: str) -> FileState | None:
        """Size and time of a key's object; None where there is none."""
        try:
            head = with_spellings(key, self._head)
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

    def _head(self, key: str) -> Any:  # noqa: ANN401 - obstore's ObjectMeta
        try:
            return obstore.head(self._store, _path(key))
        except (FileNotFoundError, NotFoundError) as error:
            raise Unreadable(f"no such object: {short(key)}", missing=True) from error

    def _read(self, path: str, key: str, max_bytes: int) -> bytes:
        try:
            answer = obstore.get(self._store, path)
            size = answer.meta["size"]
            if size > max_bytes:
                raise too_large(size, max_bytes)
            return bytes(answer.bytes())
        except (FileNotFoundError, NotFoundError) as error:
            raise Unreadable(f"no such object: {short(key)}", missing=True) from error
        except (BaseError, ValueError) as error:
            raise Unreadable(f"cannot read {short(key)}: {first_line(error)}", fleeting=True) from error


def _path(key: str) -> str:
    """The object's name in the bucket; no operating system reads it, so Windows' rules do not count."""
    return "/".join(key_parts(key, windows=False))
