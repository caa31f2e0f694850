"""docs/media-api.md is what the engine says and understands: each of its exchanges is played with a real server."""

import re
from dataclasses import dataclass
from http import HTTPStatus

import pytest

from engine.api.addresses import ApiConfig
from engine.api.answers import BadRecords, NotNow, Reply, TooLarge, Yes, classify
from engine.api.client import MediaApi
from engine.api.token import Token
from engine.errors import Unauthorized, WrongAddress
from engine.ledger.ledger import Ledger
from engine.types import Media, TagScore
from tests.docs.pages import ROOT, Page
from tests.support.delivery import TOKEN, Bench
from tests.support.ledgers import tagged
from tests.support.media_server import BULK, REPLACE, SEGMENT, SINGLE, MediaServer, Request, always
from tests.support.media_server import Reply as ServerReply

PAGE = Page.read(ROOT / "docs" / "media-api.md")
ONE, SEVEN = Media(1, "ab/cd/0001.jpg", 1), Media(7, "ab/cd/0007.png", "7")


@dataclass(frozen=True)
class Message:
    """A request or an answer as the page shows it."""

    first_line: str
    headers: dict[str, str]
    body: bytes

    @classmethod
    def read(cls, text: str) -> "Message":
        head, _, body = text.partition("\n\n")
        first_line, *lines = head.splitlines()
        headers = dict(line.split(": ", 1) for line in lines)
        return cls(first_line, headers, body.strip().encode())

    @property
    def status(self) -> int:
        return int(self.first_line.split()[1])


def exchange(path: str) -> tuple[Message, Message]:
    """The request to `path` and its answer."""
    shown = [Message.read(content) for language, content in PAGE.blocks if language == "http"]
    at = next(i for i, message in enumerate(shown) if message.first_line == f"POST {path} HTTP/1.1")
    return shown[at], shown[at + 1]


def is_as_shown(request: Request, shown: Message) -> None:
    """A request that the engine sent, byte for byte as on the page."""
    assert request.body == shown.body
    for name, value in shown.headers.items():
        pattern = re.escape(value).replace("<token>", TOKEN).replace("<key>", "[0-9a-f]{64}")
        assert re.fullmatch(pattern, request.headers[name.lower()]), name
    assert (shown.headers.get("Idempotency-Key") is None) == ("idempotency-key" not in request.headers)


def replaying(shown: Message, path: str) -> MediaServer:
    """A service that answers as the page says."""
    return MediaServer([], always(ServerReply(shown.status, shown.body, store=True), path))


def test_the_page_shows_each_call() -> None:
    shown = [content.splitlines()[0] for language, content in PAGE.blocks if language == "http"]
    assert shown[::2] == [f"POST {path} HTTP/1.1" for path in (SEGMENT, SINGLE, BULK, REPLACE)]
    assert all(re.fullmatch(r"HTTP/1.1 2\d\d [\w -]+", line) for line in shown[1::2])


def test_the_segment() -> None:
    request, answer = exchange(SEGMENT)
    with replaying(answer, SEGMENT) as server:
        api = MediaApi(ApiConfig(server.segment_url, server.recognition_url), Token(TOKEN))
        try:
            assert api.segment(1, 100) == [ONE, SEVEN]
        finally:
            api.close()
    is_as_shown(server.requests[0], request)
    assert server.violations == []


def test_the_recognition_of_one_tag(tmp_path) -> None:
    request, answer = exchange(SINGLE)
    with Ledger(tmp_path / "state.db") as ledger, replaying(answer, SINGLE) as server:
        bench = Bench(ledger, server)
        bench.put([tagged(ONE, TagScore("long_hair", 0.9871))])
        bench.deliver(bulk=False)
        assert bench.counts() == {"done": 1}
    is_as_shown(server.posts()[0], request)
    assert server.violations == []


def test_the_recognition_in_bulk(tmp_path) -> None:
    request, answer = exchange(BULK)
    with Ledger(tmp_path / "state.db") as ledger, replaying(answer, BULK) as server:
        bench = Bench(ledger, server)
        girl, hair, red = TagScore("1girl", 0.9984), TagScore("long_hair", 0.987), TagScore("赤髪", 0.5116)
        bench.put([tagged(ONE, girl, hair), tagged(SEVEN, red)])
        bench.deliver()
        assert bench.counts() == {"done": 1, "rejected": 1}
        assert ledger.refused() == [(1, "long_hair", "this tag is locked")]
    is_as_shown(server.posts()[0], request)
    assert server.violations == []


def test_the_replacing_of_all_tags_of_a_medium(tmp_path) -> None:
    request, answer = exchange(REPLACE)
    with Ledger(tmp_path / "state.db") as ledger, replaying(answer, REPLACE) as server:
        ledger.name_model("deepdanbooru-v3")
        bench = Bench(ledger, server)
        bench.put([tagged(ONE, TagScore("1girl", 0.9984), TagScore("long_hair", 0.987)), tagged(SEVEN)], replaces=True)
        bench.deliver(replace=True)
        assert bench.counts() == {"done": 1, "rejected": 1}
        assert ledger.refused() == [(1, "long_hair", "this tag is locked")]
    is_as_shown(server.posts()[0], request)
    assert server.violations == []


def meaning(status: int, body: bytes = b"") -> str:
    """What the page calls the engine's reading of an answer."""
    try:
        answer = classify(Reply("http://media", status, body), said_yes=True)
    except Unauthorized:
        return "wrong token"
    except WrongAddress:
        return "wrong address"
    return {Yes: "yes", NotNow: "not now", TooLarge: "too large", BadRecords: "bad records"}[type(answer)]


ROWS = re.findall(r"^\| (.*?\d{3}.*?|2xx .*?) \| (.*?) \| .*? \|$", PAGE.text, re.MULTILINE)


def test_the_table_of_answers_names_each_meaning() -> None:
    assert {row[1] for row in ROWS} == {"yes", "not now", "wrong token", "wrong address", "too large", "bad records"}


@pytest.mark.parametrize(("answers", "said"), ROWS, ids=[row[1] for row in ROWS])
def test_the_table_of_answers(answers: str, said: str) -> None:
    statuses = re.findall(r"(?<!of )\b[2-5]\d\d\b", answers.split("with a `code`")[0])
    assert statuses or answers.startswith("2xx")
    assert {status: meaning(int(status)) for status in statuses} == dict.fromkeys(statuses, said)


def test_what_the_page_says_of_other_answers() -> None:
    assert {meaning(200, body) for body in (b"", b"ok", b'{"data": 1}', b'{"code": 0}', b'{"code": "200"}')} == {"yes"}
    assert {meaning(200, body) for body in (b'{"code": 7}', b'{"success": false}')} == {"not now"}
    assert {meaning(200, b'{"code": 401}'), meaning(200, b'{"code": "403"}')} == {"wrong token"}
    assert meaning(200, b"<html>sign in</html>") == "wrong address"
    # "every other 4xx": those that no row names
    named = {int(status) for answers, _ in ROWS for status in re.findall(r"\b\d{3}\b", answers)}
    others = [status for status in HTTPStatus if 400 <= status < 500 and status not in named]
    assert {meaning(status) for status in others} == {"bad records"} and len(others) > 5
