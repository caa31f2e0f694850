"""Editing over real HTTP: by a program with the token, and by the page."""

import httpx
import pytest

from tests.service.conftest import record


def edit(http, **request):
    answer = http.post("/edits", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def found(http, query: str) -> set[str]:
    return {picture["path"] for picture in http.get("/page/pictures", params={"q": query}).json()["pictures"]}


def test_all_that_a_search_finds_is_edited_at_once_and_undone(http, ids):
    records = [record(ids[name], "hat", "0.900") for name in ("a.jpg", "b.PNG")]
    assert http.post("/media/recognition/bulk", json=records).status_code == 200
    request = {"query": "hat", "yes": ["red_hat"], "no": ["hat"], "who": "me"}
    preview = edit(http, **request, dryRun=True)
    assert preview == {"id": None, "pictures": 2, "unknown": [], "changed": {"red_hat": 2, "hat": 2}, "left": 0}
    assert found(http, "hat") == {"a.jpg", "b.PNG"}
    done = edit(http, **request)
    assert done["changed"] == preview["changed"]
    assert found(http, "hat") == set() and found(http, "red_hat source:human") == {"a.jpg", "b.PNG"}
    edit(http, pictures=[ids["a.jpg"]], yes=["hat"], who="you")
    [latest, first] = http.get("/edits").json()["entries"]
    assert (first["id"], first["who"], first["what"]) == (done["id"], "me", "add red_hat; remove hat: 2 pictures")
    assert first["kind"] == "edit"
    assert {one.pop("tag"): one for one in first["changes"]} == {
        "red_hat": {"yes": 2, "no": 0, "clear": 0},
        "hat": {"yes": 0, "no": 2, "clear": 0},
    }
    undone = http.post(f"/edits/{done['id']}/undo", json={"who": "me"}).json()
    assert undone["changed"] == {"red_hat": 2, "hat": 1} and undone["left"] == 1
    assert found(http, "hat") == {"a.jpg", "b.PNG"} and found(http, "red_hat") == set()
    assert [e["id"] for e in http.get(f"/edits?before={latest['id']}&limit=1").json()["entries"]] == [first["id"]]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"yes": ["hat"]}, "either pictures or a query"),
        ({"pictures": [1], "query": "x", "yes": ["hat"]}, "either pictures or a query"),
        ({"pictures": [1]}, "nothing is said"),
        ({"pictures": [1], "yes": ["a\u0000b"]}, "is no tag"),
        ({"pictures": ["1"], "yes": ["hat"]}, "integer"),
        ({"pictures": [1], "yes": ["hat"], "no": ["hat"]}, "two things"),
        ({"query": "((( score:>abc", "yes": ["hat"]}, "cannot be read at character 3: this bracket"),
        ({"query": "smile score:>O.9", "yes": ["hat"]}, "cannot be read at character 7: a score is a number"),
        ({"query": "smile rating:xxx", "yes": ["hat"]}, "cannot be read at character 14: no rating is called xxx"),
        ({"query": "id:99999999999999999999999", "yes": ["hat"]}, "an id is a number"),
        ({"query": " ", "yes": ["hat"]}, "finds every picture of the library: where that is meant, write `id:0..`"),
    ],
)
def test_what_cannot_be_done_is_said(idle, request_, said):
    answer = idle.post("/edits", json=request_)
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_every_picture_can_be_meant(http, ids):
    assert edit(http, query="id:0..", yes=["hat"], dryRun=True)["pictures"] == len(ids)


def test_a_number_that_no_database_holds(http, ids):
    edit(http, pictures=[ids["a.jpg"]], yes=["hat"])
    assert len(http.get(f"/edits?before={10**23}").json()["entries"]) == 1
    assert http.post(f"/edits/{10**23}/undo", json={}).status_code == 409


def test_an_undo_that_cannot_be(idle):
    answer = idle.post("/edits/7/undo", json={})
    assert (answer.status_code, answer.json()["error"]) == (409, "there is no edit 7")


def test_only_who_has_the_token_or_is_the_page_edits(running, ids):
    request = {"pictures": [ids["a.jpg"]], "yes": ["hat"]}
    with httpx.Client(base_url=running.url) as browser:
        assert browser.post("/edits", json=request).status_code == 401
        assert browser.post("/page/edits", json=request).status_code == 401
        assert browser.post("/page/edits", json=request, headers={"Origin": "https://evil.example"}).status_code == 401
        done = browser.post("/page/edits", json=request, headers={"Origin": running.url})
        assert done.status_code == 200
        undo = f"/page/edits/{done.json()['id']}/undo"
        assert browser.post(undo, json={}, headers={"Origin": running.url}).status_code == 200
        assert len(browser.get("/page/edits").json()["entries"]) == 2
