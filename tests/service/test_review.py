"""Review over real HTTP: the queue, verdicts of two people, the threshold that they move, groups of copies."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.vectors.store import Features, Of, VectorStore, vectors_of
from service.database import Database
from service.embedded import embedded
from service.libraries import ledger_of
from service.review.review import Review
from service.search.find import Search
from service.search.names import Keys
from service.similar import Similar
from service.store import Opinion, Store
from service.verdicts import Verdicts
from tests.service.conftest import draw, record
from tests.service.search.test_find import add_media

PICTURES = 60


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for number in range(PICTURES):
        draw(tmp_path / "library" / f"{number:03}.jpg", (8, 8))
    return tmp_path / "library"


@pytest.fixture
def scored(http, ids) -> list[int]:
    """The ids of forty pictures with scores of `hat` from 0.5 to 0.89; those below 0.7 are wrong, as `true` says."""
    media_ids = sorted(ids.values())[:40]
    records = [record(one, "hat", f"{0.5 + 0.01 * at:.3f}") for at, one in enumerate(media_ids)]
    assert http.post("/media/recognition/bulk", json=records).status_code == 200
    return media_ids


def queue(http, **query):
    answer = http.get("/review/queue", params={"tag": "hat", **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


def asked(http, **query) -> list[int]:
    return [one["mediaId"] for one in queue(http, **query)["pictures"]]


def judge(http, verdicts: dict[int, bool], **other):
    said = [{"mediaId": media_id, "yes": yes} for media_id, yes in verdicts.items()]
    answer = http.post("/review/verdicts", json={"tag": "hat", "verdicts": said, **other})
    assert answer.status_code == 200, answer.text
    return answer.json()


def estimate(http):
    return http.get("/review/estimate", params={"tag": "hat"}).json()


def found(http, query: str) -> list[int]:
    answer = http.get("/page/pictures", params={"q": query, "limit": 200}).json()
    return sorted(one["id"] for one in answer["pictures"])


def test_twenty_verdicts_move_a_threshold(http, scored):
    """What the demo shows: the model is wrong below 0.7, and after twenty answers the library goes by that."""
    true = {one: at >= 20 for at, one in enumerate(scored)}
    first = queue(http)
    assert (first["left"], first["judged"], first["scored"], first["threshold"]) == (42, 0, 40, None)
    assert [one["why"] for one in first["pictures"][:20]].count("sample") == 2
    assert estimate(http)["needed"] == 20 and estimate(http)["best"] is None
    for one in asked(http, limit=20):
        assert judge(http, {one: true.get(one, False)}, who="me")["given"] == 1
    told = estimate(http)
    assert (told["verdicts"], told["needed"], told["unscored"]["looked"]) == (20, 0, 1)
    assert 0.6 < told["best"]["threshold"] < 0.8 and told["best"]["low"] <= told["best"]["threshold"]
    assert told["best"]["f1"] > told["now"]["f1"] and told["best"]["precision"]["low"] < 1
    assert told["command"] == f"engine retag --threshold hat={told['best']['threshold']:g}"
    lost = told["lose"]["pictures"]
    assert told["gain"]["pictures"] == 0 and 0 < lost == len(told["lose"]["some"])
    before = found(http, "hat")
    used = http.post("/review/threshold", json={"tag": "hat", "threshold": told["best"]["threshold"]})
    assert used.json() == {"tag": "hat", "before": None, "threshold": told["best"]["threshold"]}
    assert len(before) - len(found(http, "hat")) == lost
    after = estimate(http)
    assert (after["threshold"], after["lose"]["pictures"]) == (told["best"]["threshold"], 0)
    back = http.post("/review/threshold", json={"tag": "hat", "threshold": None}).json()
    assert back["before"] == told["best"]["threshold"] and found(http, "hat") == before


def test_review_goes_on_where_it_was_left(http, scored, library, running):
    order = asked(http)
    assert asked(http) == order and asked(http, offset=5, limit=7) == order[5:12]
    judge(http, dict.fromkeys(order[:3], True))
    assert asked(http) == order[3:]
    with embedded(library, db=running.db, rescan=0) as other, httpx.Client(base_url=other.url) as again:
        assert asked(again) == order[3:]


def test_two_people_do_not_overwrite_each_other(http, scored):
    one, other, third = asked(http, limit=3)
    first = judge(http, {one: True, other: False}, who="anna")
    assert (first["given"], first["already"], first["gone"]) == (2, [], [])
    second = judge(http, {one: False, third: True}, who="ben")
    assert second["given"] == 1
    assert second["already"] == [{"mediaId": one, "yes": True, "who": "anna"}]
    assert one in found(http, "hat source:human")
    again = judge(http, {one: True}, who="anna")  # an answer that got lost, and the page asks again
    assert (again["id"], again["given"], len(again["already"])) == (None, 0, 1)
    entries = http.get("/edits").json()["entries"]
    assert [entry["what"] for entry in entries] == ["review hat: 1 yes, 0 no", "review hat: 1 yes, 1 no"]
    assert http.post(f"/edits/{first['id']}/undo", json={}).json()["left"] == 0
    assert asked(http)[:2] == [one, other] and third not in asked(http)


def test_a_picture_that_vanishes_meanwhile(http, scored, ids, library, running):
    one, other = asked(http, limit=2)
    path = next(path for path, media_id in ids.items() if media_id == one)
    (library / path).unlink()
    with embedded(library, db=running.db, rescan=0):
        pass  # scans
    assert queue(http)["left"] == 41  # of 42
    done = judge(http, {one: True, other: True, 777_777: True})
    assert (done["given"], done["gone"]) == (1, sorted([one, 777_777]))
    assert one not in asked(http)


def test_a_picture_that_vanishes_while_the_queue_is_made_is_left_out(tmp_path):
    """The index does not know of it yet, as nothing has told it."""
    with reviewing(tmp_path, 3) as (database, store, review, ids):
        store.replace([Opinion(one, "m", {"hat": 0.5}) for one in ids])
        assert len(review.queue("hat", "uncertain", offset=0, limit=10).asked) == 3
        with database.writing() as connection:
            connection.exec_driver_sql("UPDATE media SET present = 0 WHERE id = ?", (ids[0],))
        asked = review.queue("hat", "uncertain", offset=0, limit=10).asked
        assert {one.media_id for one in asked} == {*ids[1:]}


def test_where_all_that_is_scored_is_right_no_threshold_takes_any_away(http, scored):
    judge(http, dict.fromkeys(scored, True))
    told = estimate(http)
    assert (told["best"]["lowest"], told["lose"]["pictures"], told["gain"]["pictures"]) == (True, 0, 0)


def test_verdicts_given_elsewhere_count_but_teach_nothing(http, scored):
    http.post("/edits", json={"pictures": scored[:30], "no": ["hat"]})
    judge(http, dict.fromkeys(scored[30:32], True), order="suspicious")
    told = estimate(http)
    assert (told["judged"], told["verdicts"], told["needed"]) == (32, 0, 20)
    assert not set(asked(http)) & set(scored[:32])


def test_a_name_that_means_one_tag_is_enough(http, ids, scored):
    http.post("/media/recognition", json=record(ids["000.jpg"], "long_hair"))
    assert http.get("/review/queue", params={"tag": "长发", "lang": "zh-Hans"}).json()["tag"] == "long_hair"
    tags = http.get("/review/tags").json()["tags"]
    assert tags == []
    judge(http, {scored[0]: False})
    [only] = http.get("/review/tags").json()["tags"]
    assert (only["tag"], only["verdicts"], only["yes"], only["best"]) == ("hat", 1, 0, None)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("get", "/review/queue?tag=nothing", None, 404, "no picture has a tag nothing"),
        ("get", "/review/queue?tag=", None, 422, "at least 1 character"),
        ("get", "/review/queue?tag=x&order=odd", None, 422, "'uncertain' or 'suspicious'"),
        ("get", "/review/estimate?tag=nothing", None, 404, "no picture has a tag nothing"),
        ("post", "/review/threshold", {"tag": "nothing", "threshold": 0.5}, 404, "no picture has a tag nothing"),
        ("post", "/review/threshold", {"tag": "x", "threshold": 1.5}, 422, "less than or equal to 1"),
        ("post", "/review/verdicts", {"tag": "nothing", "verdicts": [{"mediaId": 1, "yes": True}]}, 404, "no picture"),
        ("post", "/review/verdicts", {"tag": "x", "verdicts": []}, 422, "at least 1 item"),
        ("post", "/review/verdicts", {"tag": "x", "verdicts": [{"mediaId": 1, "yes": "yes"}]}, 422, "boolean"),
        ("post", "/review/verdicts", {"tag": "x", "verdicts": [{"mediaId": 10**30, "yes": True}]}, 422, "less than"),
    ],
)
def test_what_cannot_be_done_is_said(idle, method, path, body, status, said):
    answer = idle.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]


def test_only_who_has_the_token_or_is_the_page_judges(running, scored):
    body = {"tag": "hat", "verdicts": [{"mediaId": scored[0], "yes": True}]}
    with httpx.Client(base_url=running.url) as browser:
        assert browser.post("/review/verdicts", json=body).status_code == 401
        assert browser.post("/page/review/verdicts", json=body, headers={"Origin": "http://evil"}).status_code == 401
        assert browser.post("/page/review/verdicts", json=body, headers={"Origin": running.url}).status_code == 200
        assert browser.get("/page/review/estimate", params={"tag": "hat"}).json()["judged"] == 1


def test_more_verdicts_than_can_be_kept_are_refused_and_none_is_lost(http, running, scored):
    """Sixteen clients at once, each as fast as it can: what was answered with yes is kept, all else is told so."""
    kept, refused, errors = [], [], []

    def flood(first: int) -> None:
        try:
            headers = {"Authorization": f"Bearer {running.token}"}
            with httpx.Client(base_url=running.url, headers=headers, timeout=60) as client:
                for media_id in scored[first::16] * 3:
                    said = {"tag": "hat", "verdicts": [{"mediaId": media_id, "yes": True}]}
                    answer = client.post("/review/verdicts", json=said)
                    if answer.status_code == 200:
                        kept.extend([media_id] * answer.json()["given"])
                    else:
                        refused.append((answer.status_code, answer.headers.get("Retry-After")))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=flood, args=(first,)) for first in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(kept) == found(http, "hat source:human") and len(set(kept)) == len(kept)
    assert set(refused) <= {(503, "2")}
    assert sorted(kept) == scored or refused


@contextmanager
def reviewing(folder: Path, pictures: int) -> Iterator[tuple[Database, Store, Review, list[int]]]:
    with closing(Database(folder / "l.db")) as database, closing(Similar(database.path)) as similar:
        store = Store(database)
        ids = add_media(database, pictures)
        yield database, store, Review(database, Search(database, Keys()), Verdicts(database, store), similar), ids


def test_ten_thousand_verdicts_in_one_request(tmp_path):
    with reviewing(tmp_path, 10_000) as (_, store, review, ids):
        store.replace([Opinion(one, "m", {"hat": 0.5 + one / 30_000}) for one in ids])
        done = review.judge("hat", {one: one > 5_000 for one in ids}, "uncertain", who="me")
        assert done.given == 10_000
        assert review.queue("hat", "uncertain", offset=0, limit=10).left == 0
        told = review.told("hat")
        assert told.best and abs(told.best.threshold - (0.5 + 5_000 / 30_000)) < 0.01


SCORES = st.lists(st.integers(0, 100), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(SCORES, st.data())
def test_a_verdict_takes_its_picture_out_and_moves_no_other(tmp_path_factory, scores, data) -> None:
    """Below twenty verdicts the threshold stays: what is left is the order as it was, whoever judged, and undone."""
    with reviewing(tmp_path_factory.mktemp("order"), len(scores)) as (database, store, review, ids):
        given_scores = [(one, score / 100) for one, score in zip(ids, scores, strict=True) if score]
        store.replace([Opinion(one, "m", {"hat": score}) for one, score in given_scores])
        if not given_scores:
            return
        order = [one.media_id for one in review.queue("hat", "uncertain", offset=0, limit=200).asked]
        some = data.draw(st.lists(st.sampled_from(order), unique=True, max_size=19))
        entries = [review.judge("hat", {one: data.draw(st.booleans())}, "uncertain", who="me").id for one in some]
        left = [one.media_id for one in review.queue("hat", "uncertain", offset=0, limit=200).asked]
        assert left == [one for one in order if one not in some]
        for entry in entries:
            assert entry
            Verdicts(database, store).undo(entry, who="me")
        assert [one.media_id for one in review.queue("hat", "uncertain", offset=0, limit=200).asked] == order


def put_vectors(database: Database, vectors: dict[int, tuple[int, list[float]]]) -> None:
    dimensions = len(next(iter(vectors.values()))[1])
    with closing(VectorStore(vectors_of(ledger_of(database.path)), Of("m", "0" * 64, dimensions))) as store:
        store.put(Features(one, hash_, np.array(v, np.float32)) for one, (hash_, v) in vectors.items())


def test_of_copies_one_is_asked_about(tmp_path):
    with reviewing(tmp_path, 6) as (database, store, review, ids):
        store.replace([Opinion(one, "m", {"hat": 0.5 + 0.05 * at}) for at, one in enumerate(ids)])
        hashes = [0, 1, 3, 0xFFFF << 30, 0xFF << 50, 0xFF << 8]  # the first three are copies
        put_vectors(database, {one: (hashes[at], [float(at), 1.0]) for at, one in enumerate(ids)})
        queue = review.queue("hat", "uncertain", offset=0, limit=10)
        assert (queue.left, queue.scored) == (4, 4)
        assert {one.media_id for one in queue.asked} == {*ids[2:]}
        review.judge("hat", {ids[0]: True}, "uncertain", who="me")  # any of them will do
        assert {one.media_id for one in review.queue("hat", "uncertain", offset=0, limit=10).asked} == {*ids[3:]}


def test_two_verdicts_on_copies_teach_as_much_as_one(tmp_path):
    with reviewing(tmp_path, 3) as (database, store, review, ids):
        store.replace([Opinion(one, "m", {"hat": 0.5}) for one in ids])
        put_vectors(database, {one: (at * 0xFF_FFFF, [1.0, 1.0]) for at, one in zip((0, 0, 1), ids, strict=True)})
        review.judge("hat", dict.fromkeys(ids, True), "uncertain", who="me")
        told = review.told("hat")
        assert (told.judged, told.verdicts) == (3, 2)


@pytest.mark.parametrize(("without", "suspicious"), [(4, False), (5, True)])
def test_half_of_the_neighbours_without_the_tag_make_a_picture_suspicious(tmp_path, without, suspicious):
    """Eleven are alike, so that each has ten neighbours, of which so many lack the tag; twenty others have it."""
    rng = np.random.default_rng(1)
    with reviewing(tmp_path, 31) as (database, store, review, ids):
        kinds = np.where(np.arange(64) < 32, 1.0, 0.0), np.where(np.arange(64) < 32, 0.0, 1.0)
        vectors = {
            one: (int(rng.integers(2**63)), (kinds[int(at < 11)] + rng.uniform(0, 0.4, 64)).tolist())
            for at, one in enumerate(ids)
        }
        put_vectors(database, vectors)
        store.replace([Opinion(one, "m", {"barbara": 0.8}) for one in ids[without:]])
        asked = review.queue("barbara", "suspicious", offset=0, limit=20).asked
        expected = {one: without / 10 for one in ids[without:11]} if suspicious else {}
        assert {one.media_id: one.doubt for one in asked} == expected


def test_a_tag_whose_neighbours_disagree_is_suspicious(tmp_path):
    """Two kinds of pictures; one of the second kind has the first kind's character."""
    rng = np.random.default_rng(0)
    with reviewing(tmp_path, 60) as (database, store, review, ids):
        kinds = np.where(np.arange(64) < 32, 1.0, 0.0), np.where(np.arange(64) < 32, 0.0, 1.0)
        vectors = {
            one: (int(rng.integers(2**63)), (kinds[at // 30] + rng.uniform(0, 0.4, 64)).tolist())
            for at, one in enumerate(ids)
        }
        put_vectors(database, vectors)
        wrong = ids[40]
        opinions = [Opinion(one, "m", {"barbara": 0.9 if one == wrong else 0.8}) for one in [*ids[:30], wrong]]
        store.replace(opinions)
        queue = review.queue("barbara", "suspicious", offset=0, limit=10)
        assert [(one.media_id, one.doubt) for one in queue.asked] == [(wrong, 1.0)]
        review.judge("barbara", {wrong: False}, "suspicious", who="me")
        assert review.queue("barbara", "suspicious", offset=0, limit=10).asked == []
        assert review.told("barbara").verdicts == 0


def test_groups_of_copies_are_listed_the_largest_first(http, ids, running, library):
    media_ids = sorted(ids.values())
    with closing(Database(running.db)) as database:
        hashes = {one: int(np.random.default_rng(one).integers(2**63)) for one in media_ids}
        hashes |= {media_ids[1]: hashes[media_ids[0]] ^ 1} | dict.fromkeys(media_ids[10:13], hashes[media_ids[10]])
        put_vectors(database, {one: (hashes[one], [float(one), 1.0]) for one in media_ids})
    answer = http.get("/similar/copies").json()
    assert answer["total"] == 2
    groups = [[one["mediaId"] for one in group["pictures"]] for group in answer["groups"]]
    assert groups == [media_ids[10:13], media_ids[:2]]
    assert answer["groups"][1]["pictures"][0]["size"] == (library / "000.jpg").stat().st_size
    assert http.get("/similar/copies", params={"offset": 1, "limit": 1}).json()["groups"] == answer["groups"][1:]
    (library / "001.jpg").unlink()
    draw(library / "012.jpg", (900, 900))
    with embedded(library, db=running.db, rescan=0):
        pass  # scans
    left = http.get("/page/similar/copies").json()
    assert left["total"] == 1
    [group] = left["groups"]  # the largest file first
    assert [one["mediaId"] for one in group["pictures"]] == [media_ids[12], media_ids[10], media_ids[11]]


def test_the_queue_of_a_large_library_is_made_in_moments(tmp_path):
    """No timed claim: that nothing grows with the square of the library. A minute would be a hundred times too much."""
    with reviewing(tmp_path, 20_000) as (_, store, review, ids):
        for first in range(0, 20_000, 5_000):
            store.replace([Opinion(one, "m", {"hat": 0.5 + one % 500 / 1_000}) for one in ids[first : first + 5_000]])
        began = time.monotonic()
        assert review.queue("hat", "uncertain", offset=19_000, limit=60).left == 20_000
        assert time.monotonic() - began < 60
