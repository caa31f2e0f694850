"""What the page is made of: its JSON, its pictures, and what guards them."""

import base64
import io
import re
import socket
from pathlib import Path
from typing import get_args

import httpx
import psutil
import pytest
from PIL import Image

import service
from engine.pictures.decode import decode
from engine.pictures.sniff import CONTENT_TYPES
from service.embedded import embedded
from service.search.query import Code
from tests.service.conftest import NAMES, draw, record


@pytest.fixture
def tagged(http, ids):
    records = [
        record(ids["a.jpg"], "long_hair", "0.700"),
        record(ids["a.jpg"], "rating:safe", "0.990"),
        record(ids["b.PNG"], "very_long_hair", "0.900"),
        record(ids["b.PNG"], "hat", "0.800"),
        record(ids["nested folder/été/c.webp"], "longxhair", "0.600"),
    ]
    assert http.post("/media/recognition/bulk", json=records).status_code == 200
    return ids


def paths(http, **query) -> list[str]:
    answer = http.get("/page/pictures", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.json()["total"] == len(answer.json()["pictures"])
    return [picture["path"] for picture in answer.json()["pictures"]]


def test_search_takes_a_query(http, tagged):
    assert paths(http, q="*long*") == ["b.PNG", "a.jpg", "nested folder/été/c.webp"]
    assert paths(http, q="*LONG_h*") == ["b.PNG", "a.jpg"]  # the underscore is no wildcard
    assert paths(http, q="*long* hat") == ["b.PNG"]
    assert paths(http, q="long_hair") == ["b.PNG", "a.jpg"]  # very_long_hair implies it
    assert paths(http, q="very_long_hair") == ["b.PNG"]
    assert paths(http, q="hat or long_hair") == ["b.PNG", "a.jpg"]
    assert paths(http, q="rating:*") == ["a.jpg"]
    assert paths(http, q="general:*safe*") == []
    assert paths(http, q="%") == []
    assert len(paths(http)) == len(NAMES)


def test_what_is_wrong_in_a_query_is_said_beside_what_was_found(http, tagged):
    answer = http.get("/page/pictures", params={"q": "hat (score:x"}).json()
    assert [picture["path"] for picture in answer["pictures"]] == ["b.PNG"]
    assert answer["mistakes"] == [
        {"at": 4, "length": 1, "reason": "this bracket is not closed", "code": "bracket not closed"},
        {"at": 5, "length": 7, "reason": "a score is a number from 0 to 1, as in `score:>0.8`", "code": "score"},
    ]
    assert answer["query"] == "hat"


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_the_page_has_a_sentence_of_its_own_for_every_mistake(language):
    words = (Path(service.__file__).parent / "static" / "words.js").read_text(encoding="utf-8")
    [own] = re.findall(rf"^  {language}: \{{$.*?^    mistakes: \{{\n(.*?)^    \}}", words, re.DOTALL | re.MULTILINE)
    assert set(re.findall(r'^      "([^"]+)": ".+",$', own, re.MULTILINE)) == set(get_args(Code))


def test_where_no_vectors_are_kept_a_search_for_similar_pictures_says_so(http, tagged):
    answer = http.get("/search", params={"q": "similar:1"}).json()
    [mistake] = answer["mistakes"]
    assert (answer["total"], mistake["at"], mistake["code"]) == (0, 0, "no vectors")
    assert "engine run" in mistake["reason"]
    refused = http.post("/edits", json={"query": "similar:1", "yes": ["x"]})
    assert refused.status_code == 422 and "no vectors are kept" in refused.json()["error"]


def test_a_rating_has_a_name_in_the_language_that_was_asked_for(http, tagged):
    def named(lang: str) -> tuple[str, str]:
        [card] = http.get("/search", params={"q": "rating:safe", "lang": lang}).json()["pictures"]
        return card["rating"], card["ratingName"]

    assert named("zh-Hans") == ("rating:safe", "安全")
    assert named("ja") == ("rating:safe", "セーフ")


def test_what_is_called_so_as_a_whole_is_suggested_first(http, tagged):
    records = [record(tagged[name], "longxhair_long hair") for name in NAMES]
    records += [record(tagged[name], "very_long_hair") for name in NAMES]
    http.post("/media/recognition/bulk", json=records)
    found = http.get("/page/tags", params={"q": "Long Hair"}).json()
    assert (found[0]["tag"], found[0]["whole"]) == ("long_hair", True)
    assert len(found) > 1 and not any(one["whole"] for one in found[1:])


def test_search_pages(http, tagged):
    first = http.get("/page/pictures", params={"q": "*long*", "limit": 2}).json()
    rest = http.get("/page/pictures", params={"q": "*long*", "limit": 2, "offset": 2}).json()
    assert (first["total"], len(first["pictures"]), len(rest["pictures"])) == (3, 2, 1)


def test_suggestions_count_pictures_that_are_there(http, tagged, library, running):
    def suggested() -> list[tuple[str, int]]:
        return [(entry["tag"], entry["pictures"]) for entry in http.get("/page/tags?q=long").json()]

    assert suggested() == [("long_hair", 2), ("very_long_hair", 1), ("longxhair", 1)]
    (library / "b.PNG").unlink()
    with embedded(library, db=running.db, rescan=0):  # a second service on the same database scans it
        assert suggested() == [("long_hair", 1), ("longxhair", 1)]


def test_summary_counts(http, tagged, library):
    assert http.get("/page/summary").json() == {
        "library": library.name,
        "pictures": len(NAMES),
        "tagged": 3,
        "tags": 5,
        "categories": ["General", "System"],
        "ratings": [{"tag": "rating:safe", "name": "safe"}],
    }


def test_what_the_engine_decodes_is_listed_and_served(tmp_path):
    library = tmp_path / "library"
    for suffix in CONTENT_TYPES:
        kind = {".dib": ".bmp", ".heic": ".png", ".heif": ".png"}.get(suffix, suffix)  # Pillow writes no such files
        drawn = draw(library / f"picture{kind}")
        decode(drawn.replace(library / f"picture{suffix}").read_bytes(), suffix)
    draw(library / "picture.bmp")
    draw(library / "picture.png")
    with (
        embedded(library, db=tmp_path / "library.db", rescan=0) as service,
        httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.token}"}) as client,
    ):
        answer = client.post(service.segment_url, json={"segmentStart": 0, "limit": 100})
        served = {
            Path(item["storageUrl"]).suffix: client.get(f"/picture/{item['id']}").headers["content-type"]
            for item in answer.json()["data"]
        }
    assert set(served) == set(CONTENT_TYPES)
    kinds = {".jpe": "image/jpeg", ".apng": "image/apng", ".dib": "image/bmp", ".jp2": "image/jp2", ".j2k": "image/j2c"}
    assert {suffix: served[suffix] for suffix in kinds} == kinds


def test_originals_and_thumbnails_come_by_id(http, ids, library):
    original = http.get(f"/picture/{ids['b.PNG']}")
    assert original.headers["content-type"] == "image/png"
    assert original.content == (library / "b.PNG").read_bytes()
    small = http.get(f"/thumb/{ids['b.PNG']}")
    assert small.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(small.content)) as image:
        assert image.size == (64, 48)


def test_broken_and_huge_pictures_have_a_tile(http, ids, library):
    (library / "a.jpg").write_bytes(b"\xff\xd8 not a picture")
    draw(library / "b.PNG", (10_000, 6_000))
    for name in ("a.jpg", "b.PNG"):
        tile = http.get(f"/thumb/{ids[name]}")
        assert tile.status_code == 200
        with Image.open(io.BytesIO(tile.content)) as image:
            assert image.size == (240, 240)


@pytest.mark.parametrize(
    "path",
    [
        "/picture/..%2f..%2fetc%2fpasswd",
        "/picture/0",
        "/picture/-1",
        "/picture/99999999999999999999999",
        "/picture/a.jpg",
        "/static/..%2fapi.py",
        "/static/%2e%2e/api.py",
        "/static/nothing.js",
        "/thumb/12345",
    ],
)
def test_nothing_else_can_be_reached(idle, path):
    assert idle.get(path).status_code in (404, 422)


def test_the_page_needs_no_script_of_its_own_inside(http):
    for path, kind in (("/", "text/html"), ("/docs", "text/html"), ("/static/app.js", "text/javascript")):
        answer = http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "http://" not in answer.text
        assert "https://" not in answer.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_rebound_name_is_refused(idle, host):
    assert idle.get("/page/summary", headers={"Host": host}).status_code in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000", "[::1]"])
def test_this_machines_names_are_taken(idle, host):
    assert idle.get("/page/summary", headers={"Host": host}).status_code == 200


READABLE = ("/", "/docs", "/static/app.js", "/health", "/page/summary", "/page/pictures", "/page/tags?q=x")


def test_head_answers_as_get_does_without_the_body(http, ids):
    media_id = ids["a.jpg"]
    for path in (*READABLE, f"/page/pictures/{media_id}", f"/picture/{media_id}", f"/thumb/{media_id}"):
        whole, head = http.get(path), http.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        for header in ("content-type", "content-length", "etag"):
            assert head.headers.get(header) == whole.headers.get(header), (path, header)
    assert http.head("/picture/99").status_code == 404


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/picture/{}", "/thumb/{}", "/thumb/{}?size=large"])
def test_what_the_browser_has_is_not_sent_again(http, ids, library, path):
    path = path.format(ids["a.jpg"])
    first = http.get(path)
    tag = first.headers["etag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = http.get(path, headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == first.headers["cache-control"]
        assert "content-security-policy" in again.headers
    assert http.get(path, headers={"If-None-Match": '"other"'}).content == first.content
    if path.startswith(("/picture", "/thumb")):
        draw(library / "a.jpg", (10, 10), "red")
        changed = http.get(path, headers={"If-None-Match": tag})
        assert changed.status_code == 200
        assert changed.headers["etag"] != tag


def test_a_broken_pictures_tile_is_not_taken_for_the_picture(http, ids, library):
    whole = (library / "a.jpg").read_bytes()
    (library / "a.jpg").write_bytes(whole[:40])
    tile = http.get(f"/thumb/{ids['a.jpg']}")
    assert "etag" not in tile.headers
    assert tile.headers["cache-control"] == "no-cache"


def test_stepping_follows_the_order_of_the_search(http, tagged):
    def walk(direction: str, start: int, **query: str) -> list[int]:
        steps = [start]
        while (after := http.get(f"/page/pictures/{steps[-1]}/{direction}", params=query).json()["id"]) is not None:
            steps.append(after)
        return steps

    for query in ({}, {"q": "*long*"}, {"q": "general:*"}, {"q": "hat"}):
        found = [picture["id"] for picture in http.get("/page/pictures", params=query).json()["pictures"]]
        assert walk("next", found[0], **query) == found
        assert walk("previous", found[-1], **query) == found[::-1]
    assert http.get("/page/pictures/1/sideways").status_code == 422


def test_bound_elsewhere_the_page_has_a_password_of_its_own(library, tmp_path):
    with embedded(library, db=tmp_path / "x.db", host="0.0.0.0", token="secret", password="pässword", rescan=0) as it:
        page, password = f"{it.url}/page/summary", "anyone:pässword".encode()
        basic = {b"Authorization": b"Basic " + base64.b64encode(password)}
        assert httpx.get(page).status_code == 401
        assert httpx.get(page, headers=basic).status_code == 200
        assert httpx.get(page, auth=("anyone", "secret")).status_code == 200
        assert httpx.get(f"{it.url}/health").json() == {"status": "ok"}  # whoever watches it knows no password
        segment = {"segmentStart": 1, "limit": 1}
        bearer = {b"Authorization": b"Bearer " + "pässword".encode()}
        for headers in (basic, bearer):  # it reads the page, it writes nothing
            assert httpx.post(it.segment_url, json=segment, headers=headers).status_code == 401
            assert httpx.post(f"{it.url}/health", json={}, headers=headers).status_code == 401
        assert httpx.post(it.segment_url, json=segment, headers={"Authorization": "Bearer secret"}).status_code == 200
        assert "secret" not in repr(it) and "pässword" not in repr(it)


def test_bound_to_all_it_names_every_address(library, tmp_path):
    with embedded(library, db=tmp_path / "x.db", host="0.0.0.0", token="secret", rescan=0) as it:
        port = httpx.URL(it.url).port
        assert it.urls[0] == it.url == f"http://127.0.0.1:{port}"
        own = {a.address for found in psutil.net_if_addrs().values() for a in found if a.family == socket.AF_INET}
        assert set(it.urls) == {f"http://{address}:{port}" for address in own if not address.startswith("169.254.")}
        for url in it.urls:
            assert httpx.get(f"{url}/health", timeout=10).status_code == 200


def test_bound_elsewhere_the_page_wants_the_token_too(library, tmp_path):
    with embedded(library, db=tmp_path / "x.db", host="0.0.0.0", token="sécret", rescan=0) as running:
        address = f"{running.url}/page/summary"
        for refused in (None, ("anyone", "wrong")):
            answer = httpx.get(address, auth=refused)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic")
        malformed = {b"Authorization": b"Basic \xe9\xff="}
        assert httpx.get(address, headers=malformed).status_code == 401
        password = base64.b64encode("anyone:sécret".encode()).decode()
        for authorization in (f"Basic {password}", "Bearer sécret"):
            headers = {b"Authorization": authorization.encode(), b"Host": b"nas.local"}
            answer = httpx.get(address, headers=headers)
            assert answer.status_code == 200


def test_only_the_page_itself_may_ask_to_tag_a_picture_again(running, ids):
    """A website elsewhere can make a browser send a request here, but not with our origin."""
    path = f"/page/pictures/{ids['a.jpg']}/again"
    with httpx.Client(base_url=running.url) as browser:
        assert browser.post(path, headers={"Origin": running.url}).status_code == 200
        for origin in (None, "null", "", "https://evil.example", running.url + "0", "http://localhost:1"):
            headers = {} if origin is None else {"Origin": origin}
            assert browser.post(path, headers=headers).status_code == 401, origin
        # The media API wants its token all the same.
        assert browser.post("/media/segment", headers={"Origin": running.url}, json={}).status_code == 401
        assert browser.post("/page/pictures/777/again", headers={"Origin": running.url}).status_code == 404
