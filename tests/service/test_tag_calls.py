"""The dictionary over real HTTP: what a Java service and the page ask of it."""

import json

import httpx
import pytest

from service.embedded import embedded
from tests.service.conftest import record


@pytest.fixture
def tags(http):
    """A client of a service whose dictionary was taught three tags, and the names of one of them."""
    body = "tag_id,name,category,count\n1,long_hair,0,100\n2,cat_ears,0,50\n3,hatsune_miku,4,20\n"
    imported = http.post("/tags/import?name=selected_tags.csv&who=me", content=body.encode())
    assert imported.status_code == 200, imported.text
    names = [{"text": "长发", "lang": "zh-Hans", "kind": "display"}, {"text": "ロングヘヤー", "lang": "ja"}]
    answer = http.post("/tags/edit", json={"key": "long_hair", "do": "add", "names": names, "who": "me"})
    assert answer.status_code == 200, answer.text
    return http


def test_names_are_resolved_and_suggested(tags):
    answer = tags.get("/tags/resolve", params={"name": "ロングヘヤー", "lang": "zh"}).json()
    [found] = answer["found"]
    assert (found["concept"], found["name"], found["via"]) == ("long_hair", "长发", "ロングヘヤー")
    near = tags.get("/tags/resolve", params={"name": "long_hajr"}).json()
    assert near["found"] == [] and "long_hair" in [one["concept"] for one in near["near"]]
    assert "long_hair" in [one["concept"] for one in tags.get("/tags/suggest?prefix=long").json()["found"]]
    assert tags.get("/tags/resolve", params={"name": "x" * 3_000}).status_code == 422


def test_a_lost_update_is_refused(tags):
    first = tags.get("/tags/concept", params={"key": "cat_ears"})
    etag = first.headers["etag"]
    change = {"key": "cat_ears", "do": "rename", "name": "喵耳朵", "lang": "zh-Hans"}
    done = tags.post("/tags/edit", json=change, headers={"If-Match": etag})
    assert done.status_code == 200 and done.headers["etag"] != etag
    assert any(name["text"] == "喵耳朵" and name["kind"] == "display" for name in done.json()["names"])
    late = tags.post("/tags/edit", json={**change, "name": "喵喵耳"}, headers={"If-Match": etag})
    assert late.status_code == 412 and "read it again" in late.json()["error"]
    again = tags.post("/tags/edit", json={**change, "name": "喵喵耳"}, headers={"If-Match": done.headers["etag"]})
    assert again.status_code == 200


def test_each_change_is_in_the_journal_and_can_be_undone(tags):
    entries = tags.get("/tags/journal").json()["entries"]
    assert [entry["who"] for entry in entries[:2]] == ["me", "me"]
    undone = tags.post(f"/tags/journal/{entries[0]['id']}/undo", json={"who": "you"})
    assert undone.status_code == 200 and undone.json()["restored"] > 0
    assert tags.get("/tags/resolve", params={"name": "ロングヘヤー"}).json()["found"] == []
    for number in (777777, 10**23):
        assert tags.post(f"/tags/journal/{number}/undo", json={}).status_code == 404
    assert tags.get(f"/tags/journal?before={10**23}").json()["entries"] == tags.get("/tags/journal").json()["entries"]
    shipped = tags.post("/tags/journal/1/undo", json={})
    assert shipped.status_code == 409 and "came with the engine" in shipped.json()["error"]
    assert tags.get("/tags/resolve?name=smile").json()["found"]


def test_relations_form_no_circle_and_merging_keeps_all_names(tags):
    relate = {"key": "cat_ears", "do": "relate", "broader": "long_hair"}
    assert "long_hair" in tags.post("/tags/edit", json=relate).json()["implies"]
    latest, *_, first = tags.get("/tags/journal").json()["entries"]
    assert (latest["action"], latest["keys"], latest["concepts"]) == ("relate", ["cat_ears"], 1)
    assert first["action"] == "import" and len(first["keys"]) == 5 < first["concepts"]
    circle = tags.post("/tags/edit", json={"key": "long_hair", "do": "relate", "broader": "cat_ears"})
    assert circle.status_code == 409 and "cat_ears" in circle.json()["error"]
    preview = tags.post("/tags/merge", json={"source": "hatsune_miku", "into": "cat_ears", "dryRun": True}).json()
    assert preview["source"]["key"] == "hatsune_miku" and preview["dryRun"]
    assert tags.get("/tags/concept?key=hatsune_miku").json()["key"] == "hatsune_miku"
    merged = tags.post("/tags/merge", json={"source": "hatsune_miku", "into": "cat_ears"}).json()
    assert "hatsune_miku" in merged["into"]["keys"]
    assert tags.get("/tags/concept?key=hatsune_miku").json()["key"] == "cat_ears"


def test_another_database_mirrors_it(tags):
    """As examples/java does: all at first, then what changed."""
    mirror: dict[str, object] = {}
    after: str | None = ""
    while after is not None:
        page = tags.get("/tags/concepts", params={"after": after, "limit": 1_000}).json()
        mirror |= {concept["key"]: concept for concept in page["concepts"]}
        after = page["after"]
    revision = tags.get("/tags/changes?since=0").json()["revision"]
    tags.post("/tags/edit", json={"key": "long_hair", "do": "rename", "name": "长长的头发", "lang": "zh-Hans"})
    tags.post("/tags/edit", json={"key": "brand_new", "do": "add", "category": "general"})
    changes = tags.get("/tags/changes", params={"since": revision}).json()
    assert set(changes["concepts"]) == {"long_hair", "brand_new"} and changes["revision"] > revision
    mirror |= changes["concepts"]
    ahead = tags.get("/tags/changes", params={"since": changes["revision"] + 1})
    assert ahead.status_code == 409 and "begin again with 0" in ahead.json()["error"]
    lines = [json.loads(line) for line in tags.get("/tags/export").text.splitlines()]
    assert {line["key"] for line in lines if "key" in line} == set(mirror)


def test_an_import_is_one_entry_and_a_wrong_file_is_refused_with_its_place(tags):
    rows = b"a_new_cat,0,5,\na_new_dog,0,4,doggy_dog\n"
    entries = len(tags.get("/tags/journal").json()["entries"])
    dry = tags.post("/tags/import?name=a.csv&dryRun=true", content=rows).json()
    assert dry["entry"] is None and dry["counts"]["new"] == 2
    assert len(tags.get("/tags/journal").json()["entries"]) == entries
    assert tags.post("/tags/import?name=a.csv", content=rows).json()["entry"]
    assert tags.post("/tags/import?name=a.csv", content=rows).json()["entry"] is None
    wrong = tags.post("/tags/import?name=a.csv&form=tagcomplete", content=b"cat,0,5,\ndog,zero,4,doggy\n")
    assert wrong.status_code == 422 and "2" in wrong.json()["error"]
    assert tags.post("/tags/import?name=a", content=b"\xff\xfe\x00").status_code == 422


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/tags/edit", {"key": "nothing", "do": "rename", "name": "x"}, 404),
        ("/tags/edit", {"key": "long_hair", "do": "explode"}, 422),
        ("/tags/edit", {"key": "long_hair", "do": "relate"}, 422),
        ("/tags/edit", {"key": "long_hair", "do": "rename", "name": "x", "lang": "no language"}, 422),
        ("/tags/merge", {"source": "nothing", "into": "long_hair"}, 404),
        ("/tags/split", {"key": "long_hair", "names": [], "newKey": "x"}, 422),
    ],
)
def test_what_cannot_be_done_is_said(tags, path, body, status):
    answer = tags.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


def test_only_who_has_the_token_or_is_the_page_changes_it(running):
    change = {"key": "brand_new", "do": "add", "category": "general"}
    with httpx.Client(base_url=running.url) as browser:
        assert browser.post("/tags/edit", json=change).status_code == 401
        assert browser.post("/tags/import?name=a", content=b"x").status_code == 401
        assert browser.post("/page/tags/edit", json=change).status_code == 401
        assert browser.post("/page/tags/edit", json=change, headers={"Origin": running.url}).status_code == 200
        assert browser.get("/page/tags/journal").json()["entries"]


def test_markup_in_names_stays_text_and_search_understands_what_was_just_taught(tags, ids):
    tags.post("/media/recognition/bulk", json=[record(ids["a.jpg"], "long_hair", "0.900")])
    name = "<img src=x onerror=alert(1)>"
    tags.post("/tags/edit", json={"key": "long_hair", "do": "rename", "name": name, "lang": "en"})
    found = tags.get("/search", params={"q": f'"{name}"'}).json()
    assert [picture["path"] for picture in found["pictures"]] == ["a.jpg"]
    assert found["names"][0]["found"][0]["name"] == name
    assert tags.get("/search/facets", params={"q": "长发"}).json()["total"] == 1


def test_it_stays_when_the_service_starts_again(tags, running, library):
    with embedded(library, db=running.db, rescan=0) as again, httpx.Client(base_url=again.url) as other:
        assert other.get("/tags/resolve", params={"name": "ロングヘヤー"}).json()["found"][0]["concept"] == "long_hair"
