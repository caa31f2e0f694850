"""Pictures that a web server serves: the media service itself, or any other."""

from http import HTTPStatus
from urllib.parse import quote, urljoin, urlsplit

from engine.errors import Kind, StorageError, Unreadable
from engine.storage.access import LOOK, Access
from engine.storage.connections import Answer, Server, file_state, kind_of_status, origin, shown, split
from engine.storage.keys import first_found, object_name, short, spellings, too_large
from engine.storage.reading import Reading
from engine.types import FileState

_LONGEST = 4000  # bytes of a key: with its percent signs a URL that servers take
_REDIRECTS = 5


class WebStorage:
    """`https://host/path`: a key is the rest of the URL's path.

    The token of the media API goes to the API's own origin alone: not to another server that the base names, and not
    to one that a redirect leads to.
    """

    def __init__(self, root: str, access: Access | None = None) -> None:
        """Looks whether the server answers. Raises `StorageError` for what no wait mends, or where nothing answers."""
        self._access = access = access or Access()
        parts = split(root)
        self._base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"
        self._servers = {origin(self._base): Server(self._base, access.timeout_s, access.ca_file)}
        self._token_origin = origin(access.token_url) if access.token_url and access.token else None
        try:
            self.check()
        except StorageError as error:
            if error.kind is not Kind.TRANSIENT:
                raise

    def open(self, key: str, *, max_bytes: int) -> Reading:
        """Asks for the file of a key; percent signs and accents are literal first (see `spellings`)."""
        answer = first_found(spellings(key), lambda spelled: self._file("GET", spelled, key))
        return answer.reading(max_bytes, too_large)

    def state(self, key: str) -> FileState:
        """Size and time of a key's file, as far as the server says them."""
        return file_state(first_found(spellings(key), lambda spelled: self._file("HEAD", spelled, key)))

    def check(self) -> None:
        """Asks for the base. That it is not found or may not be listed is fine: its files may be there all the same."""
        try:
            self._ask("GET", self._base, LOOK).close()
        except Unreadable as error:
            if error.kind in (Kind.MISSING, Kind.DENIED, Kind.REFUSED):
                return
            raise StorageError(f"the storage {self._base}: {error}", error.kind, error.retry_after) from None

    def _file(self, method: str, spelled: str, key: str) -> Answer:
        name = object_name(spelled.replace("\\", "/").lstrip("/"), _LONGEST)
        try:
            return self._ask(method, self._base + quote(name, safe="/"))
        except Unreadable as error:
            missing = error.kind is Kind.MISSING
            text = f"no such file: {short(key)}" if missing else f"cannot read {short(key)}: {error}"
            raise Unreadable(text, error.kind, error.retry_after) from None

    def _ask(self, method: str, url: str, timeout_s: float | None = None) -> Answer:
        for _ in range(_REDIRECTS):
            answer = self._ask_with_token(method, url, timeout_s)
            if answer.status not in (301, 302, 303, 307, 308) or "location" not in answer.headers:
                return _good(answer, url)
            answer.close()
            target = quote(urljoin(url, answer.headers["location"]), safe="!#$%&'()*+,/:;=?@[]~")
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise Unreadable(
                    f"{origin(url)} leads from https to {origin(target)}: not followed", Kind.MISCONFIGURED
                )
            url = target
        raise Unreadable(f"{origin(self._base)} leads in circles", Kind.MISCONFIGURED)

    def _ask_with_token(self, method: str, url: str, timeout_s: float | None) -> Answer:
        """One request; a second one if the token was renewed in the meantime."""
        token = self._access.token if origin(url) == self._token_origin else None
        sent = token.value if token else ""
        answer = self._send(method, url, sent, timeout_s)
        if answer.status == HTTPStatus.UNAUTHORIZED and token and (token.value != sent or token.reread()):
            answer.close()
            return self._send(method, url, token.value, timeout_s)
        return answer

    def _send(self, method: str, url: str, token: str, timeout_s: float | None) -> Answer:
        server = self._servers.get(origin(url))
        if server is None:  # of a redirect; two threads may make it twice, and one is kept
            server = self._servers.setdefault(origin(url), Server(url, self._access.timeout_s, self._access.ca_file))
        parts = urlsplit(url)
        headers = {"User-Agent": "deepdanbooru-engine"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return server.ask(method, target, headers, timeout_s)


def _good(answer: Answer, url: str) -> Answer:
    if answer.status == 200:
        return answer
    kind = kind_of_status(answer.status)
    said = shown(answer.text())
    text = f"{origin(url)} says {answer.status}" + (f" ({said})" if said else "")
    if kind is Kind.MISCONFIGURED:
        text += ": it wants a token; that of the media API is sent to the media API's own address only"
    raise Unreadable(text, kind, answer.retry_after())
