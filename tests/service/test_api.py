"""The contract, over real HTTP."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from service.embedded import Running
from service.guard import MAX_BODY
from tests.service.conftest import NAMES, record


def segment(http: httpx.Client, start: int | str, limit: int = 100) -> list[dict[str, Any]]:
    answer = http.post("/media/segment", json={"segmentStart": start, "limit": limit, "storageStatus": "ALL_DL"})
    assert answer.status_code == 200, answer.text
    data: list[dict[str, Any]] = answer.json()["data"]
    return data


def tags_of(http: httpx.Client, media_id: int) -> dict[str, float]:
    return {entry["tag"]: entry["score"] for entry in http.get(f"/page/pictures/{media_id}").json()["tags"]}


def test_segments_walk_the_catalogue_in_order(http):
    everything = segment(http, 1)
    assert {item["storageUrl"] for item in everything} == set(NAMES)
    ids = [item["id"] for item in everything]
    assert ids == sorted(ids)
    assert segment(http, ids[1], limit=2) == everything[1:3]
    assert segment(http, str(ids[1]), limit=2) == everything[1:3]
    assert segment(http, ids[-1] + 1) == []


def test_a_single_record_is_stored_once(http, ids):
    for similarity in ("0.900", "0.900", "0.950"):
        answer = http.post("/media/recognition", json=record(ids["a.jpg"], "long_hair", similarity))
        assert (answer.status_code, answer.json()) == (200, {"stored": 1})
    assert tags_of(http, ids["a.jpg"]) == {"long_hair": 0.95}


def test_bulk_is_idempotent(http, ids):
    records = [record(ids[name], tag) for name in NAMES for tag in ("1girl", "^_^", "rating:safe", "x,y'z")]
    for _ in range(2):
        answer = http.post("/media/recognition/bulk", json=records, headers={"Idempotency-Key": "k" * 64})
        assert (answer.status_code, answer.json()) == (200, {"stored": len(records)})
    assert http.get("/page/summary").json()["tags"] == 4
    assert tags_of(http, ids["a.jpg"]) == dict.fromkeys(("1girl", "^_^", "rating:safe", "x,y'z"), 0.987)


def test_bulk_rejects_unknown_media_alone(http, ids):
    answer = http.post("/media/recognition/bulk", json=[record("777", "hat"), record(str(ids["a.jpg"]), "hat")])
    assert answer.status_code == 207
    assert answer.json()["stored"] == 1
    (rejected,) = answer.json()["rejected"]
    assert (rejected["mediaId"], rejected["tagKey"]) == ("777", "hat")
    assert rejected["reason"]
    assert tags_of(http, ids["a.jpg"]) == {"hat": 0.987}


def test_a_single_unknown_medium_is_a_bad_record_and_not_a_wrong_address(http, ids):
    answer = http.post("/media/recognition", json=record(777, "hat"))
    assert answer.status_code == 422
    assert "777" in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[" * 100_000,
        b"null",
        b"{}",
        b'[{"mediaId": 1}]',
        b'[{"mediaId": true, "tagKey": "x", "similarity": "0.5"}]',
        b'[{"mediaId": 1.5, "tagKey": "x", "similarity": "0.5"}]',
        b'[{"mediaId": -1, "tagKey": "x", "similarity": "0.5"}]',
        b'[{"mediaId": 9223372036854775808, "tagKey": "x", "similarity": "0.5"}]',
        b'[{"mediaId": ' + b"9" * 5_000 + b', "tagKey": "x", "similarity": "0.5"}]',
        b'[{"mediaId": 1, "tagKey": "", "similarity": "0.5"}]',
        b'[{"mediaId": 1, "tagKey": "\\ud800", "similarity": "0.5"}]',
        b'[{"mediaId": 1, "tagKey": "x", "similarity": 0.5}]',
        b'[{"mediaId": 1, "tagKey": "x", "similarity": "nan"}]',
        b'[{"mediaId": 1, "tagKey": "x", "similarity": "1.5"}]',
        b'\xff\xfe[{"mediaId": 1}]',
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_what_is_not_a_list_of_records_is_refused_in_a_sentence(idle, body):
    answer = idle.post("/media/recognition/bulk", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"segmentStart": 1},
        {"segmentStart": 1, "limit": 0},
        {"segmentStart": 1, "limit": "9"},
        {"segmentStart": -1, "limit": 5},
        {"segmentStart": 1, "limit": 5, "storageStatus": "NEW"},
    ],
)
def test_a_malformed_segment_request_is_refused(idle, body):
    assert idle.post("/media/segment", json=body).status_code == 422


@pytest.mark.parametrize("path", ["segment", "recognition", "recognition/bulk", "recognition/replace"])
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", "Basic eDp5", "Bearer \xe9"])
def test_every_call_wants_the_token(idle, path, authorization):
    headers = {b"Authorization": authorization.encode("latin-1")} if authorization else {}
    answer = httpx.post(idle.base_url.join(f"media/{path}"), json={}, headers=headers)
    assert answer.status_code == 401
    assert "token" in answer.json()["error"]


def test_the_token_is_not_shown(running: Running):
    assert running.token not in repr(running)


def test_bodies_are_limited_also_in_chunks(http):
    assert http.post("/media/recognition/bulk", content=b" " * (MAX_BODY + 1)).status_code == 413
    assert http.post("/media/recognition/bulk", content=b" " * (8 * MAX_BODY)).status_code == 413  # and no reset
    chunks = (b" " * 65536 for _ in range(MAX_BODY // 65536 + 1))
    answer = http.post("/media/recognition/bulk", content=chunks)
    assert answer.status_code == 413
    assert "records" in answer.json()["error"]


def test_the_largest_body_is_stored(http, ids):
    """As many tiny records as fit under the limit: SQLite's limit of variables is not reached first."""
    records = [record(media_id, f"{number:x}", "0") for number in range(4_500) for media_id in ids.values()]
    answer = http.post("/media/recognition/bulk", json=records)
    assert (answer.status_code, answer.json()) == (200, {"stored": len(records)})


def test_concurrent_writers_lose_nothing(running: Running, ids):
    headers = {"Authorization": f"Bearer {running.token}"}

    def write(writer: int) -> None:
        with httpx.Client(headers=headers) as client:
            for turn in range(10):
                records = [record(media_id, f"tag_{writer % 4}_{turn}") for media_id in ids.values()]
                client.post(running.recognition_bulk_url, json=records).raise_for_status()

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(write, range(8)))
    with httpx.Client(base_url=running.url) as page:
        expected = {f"tag_{writer}_{turn}": 0.987 for writer in range(4) for turn in range(10)}
        assert all(tags_of(page, media_id) == expected for media_id in ids.values())


def test_the_openapi_document_tells_the_calls_for_programs_alone(http):
    document = http.get("/openapi.json").json()
    calls = ("segment", "recognition", "recognition/bulk", "recognition/replace")
    own = {path for path in document["paths"] if path.startswith(("/tags/", "/search", "/edits"))}
    assert {"/tags/resolve", "/tags/changes", "/tags/import", "/search", "/edits", "/edits/{edit_id}/undo"} <= own
    review = {f"/review/{call}" for call in ("queue", "verdicts", "estimate", "threshold", "tags")}
    review |= {"/similar/copies"}
    assert set(document["paths"]) == own | review | {"/tag", "/similar"} | {f"/media/{call}" for call in calls}
    assert all(way["security"] for call in document["paths"].values() for way in call.values())
