"""The fourth call: all tags that a model gives a picture, in place of those it gave before. Over real HTTP."""

import sqlite3
from contextlib import closing

import pytest

from service.embedded import Running
from tests.service.conftest import record
from tests.service.test_api import tags_of


def replace(http, media_id: int | str, tags: dict[str, str], model: str = "first") -> None:
    answer = http.post("/media/recognition/replace", json=[item(media_id, tags, model)])
    assert (answer.status_code, answer.json()) == (200, {"stored": len(tags)})


def item(media_id: int | str, tags: dict[str, str], model: str = "first") -> dict[str, object]:
    listed = [{"tagKey": key, "similarity": similarity} for key, similarity in tags.items()]
    return {"mediaId": media_id, "model": model, "tags": listed}


def test_what_the_model_names_no_more_goes(http, ids):
    replace(http, ids["a.jpg"], {"hat": "0.900", "long_hair": "0.800"})
    replace(http, ids["b.PNG"], {"hat": "0.700"})
    for _ in range(2):
        replace(http, str(ids["a.jpg"]), {"long_hair": "0.850", "smile": "0.600"})
        assert tags_of(http, ids["a.jpg"]) == {"long_hair": 0.85, "smile": 0.6}
    assert tags_of(http, ids["b.PNG"]) == {"hat": 0.7}
    replace(http, ids["a.jpg"], {})
    assert tags_of(http, ids["a.jpg"]) == {}


def test_another_models_tags_stay_until_they_are_taken_away(http, ids):
    replace(http, ids["a.jpg"], {"hat": "0.900"})
    replace(http, ids["a.jpg"], {"smile": "0.600"}, "second")
    assert tags_of(http, ids["a.jpg"]) == {"hat": 0.9, "smile": 0.6}
    answer = http.post(
        "/media/recognition/replace", json=[item(ids["a.jpg"], {}), item(ids["a.jpg"], {"wink": "0.500"}, "second")]
    )
    assert answer.json() == {"stored": 1}
    assert tags_of(http, ids["a.jpg"]) == {"wink": 0.5}


def test_tags_that_came_without_a_models_name_are_replaced_by_the_first_that_has_one(http, ids):
    records = [record(ids[name], tag) for name in ("a.jpg", "b.PNG") for tag in ("hat", "smile")]
    assert http.post("/media/recognition/bulk", json=records).status_code == 200
    replace(http, ids["a.jpg"], {"smile": "0.600"})
    assert tags_of(http, ids["a.jpg"]) == {"smile": 0.6}
    assert tags_of(http, ids["b.PNG"]) == {"hat": 0.987, "smile": 0.987}


def test_of_two_opinions_in_one_request_the_last_counts(http, ids):
    twice = [item(ids["a.jpg"], {"hat": "0.900"}), item(ids["a.jpg"], {"smile": "0.600"})]
    assert http.post("/media/recognition/replace", json=twice).status_code == 200
    assert tags_of(http, ids["a.jpg"]) == {"smile": 0.6}


def test_unknown_media_are_rejected_whole_and_the_rest_is_stored(http, ids):
    both = [item("777", {"hat": "0.900", "smile": "0.600"}), item(ids["a.jpg"], {"hat": "0.900"})]
    answer = http.post("/media/recognition/replace", json=both)
    assert (answer.status_code, answer.json()["stored"]) == (207, 1)
    [rejected] = answer.json()["rejected"]
    assert rejected["mediaId"] == "777" and rejected["reason"] and "tagKey" not in rejected
    assert tags_of(http, ids["a.jpg"]) == {"hat": 0.9}


def test_the_database_knows_which_model_gave_a_tag(http, ids, running: Running):
    replace(http, ids["a.jpg"], {"hat": "0.900"}, "second")
    with closing(sqlite3.connect(running.db)) as connection:
        sql = "SELECT model.name FROM opinion JOIN model ON model.id = model_id"
        assert connection.execute(sql).fetchall() == [("second",)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        [{"mediaId": 1, "model": "m"}],
        [{"mediaId": 1, "model": "", "tags": []}],
        [{"mediaId": 1, "model": 3, "tags": []}],
        [{"mediaId": 1, "tags": []}],
        [{"mediaId": 1, "model": "m", "tags": [{"tagKey": "x", "similarity": 0.5}]}],
        [{"mediaId": 1, "model": "m", "tags": [{"tagKey": "", "similarity": "0.5"}]}],
        [{"mediaId": True, "model": "m", "tags": []}],
    ],
)
def test_what_is_no_list_of_replacements_is_refused_in_a_sentence(idle, body):
    answer = idle.post("/media/recognition/replace", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]
