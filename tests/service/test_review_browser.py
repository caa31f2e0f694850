"""The pages of review and of copies in headless Chromium, as a person uses them."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.catalogue import Catalogue
from service.database import Database
from tests.service.conftest import draw, record
from tests.service.test_browser import FAINT_TEXTS, PHONE, complaints, device, expect, page  # noqa: F401 - fixtures
from tests.service.test_review import put_vectors

pytestmark = pytest.mark.full

PICTURES = 60
WRONG_BELOW = 20
"""Of the forty pictures with the tag those with the lower scores are wrong."""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for number in range(PICTURES):
        draw(tmp_path / "library" / f"{number:03}.jpg", (40, 40), f"hsl({6 * number}, 60%, 50%)")
    return tmp_path / "library"


@pytest.fixture
def true(http, ids) -> dict[str, bool]:
    """By path, whether the picture truly shows the hat."""
    records = [record(ids[f"{at:03}.jpg"], "hat", f"{0.5 + 0.01 * at:.3f}") for at in range(40)]
    assert http.post("/media/recognition/bulk", json=records).status_code == 200
    return {path: WRONG_BELOW <= int(path[:3]) < 40 for path in ids}


def answer(opened: Any, true: dict[str, bool], keys: int) -> None:
    for _ in range(keys):
        chosen = opened.locator("#grid .card[aria-selected=true]")
        opened.keyboard.press("y" if true[chosen.get_attribute("title")] else "n")


def test_twenty_keys_move_the_threshold_and_the_page_shows_what_changed(running, true, http, page, expect):  # noqa: F811
    page.goto(f"{running.url}/review?tag=hat")
    expect(page.locator("#grid .card")).to_have_count(20)
    expect(page.locator("#learned")).to_contain_text("20 more verdicts until there is a threshold")
    answer(page, true, 20)
    expect(page.locator("#left")).to_have_text("20 judged, 22 left")
    expect(page.locator("#grid .card.is, #grid .card.is-not")).to_have_count(0)  # the next twenty
    expect(page.locator("#learned svg path.f1")).to_have_count(1)
    best = float(page.locator("#best").inner_text())
    assert 0.6 < best < 0.8
    expect(page.locator("#interval")).to_contain_text("95 %")
    expect(page.locator("#command")).to_have_text(f"engine retag --threshold hat={best:g}")
    expect(page.locator("#changes .loses")).to_contain_text("would lose the tag")
    before = http.get("/page/pictures", params={"q": "hat"}).json()["total"]
    page.click("#use")
    expect(page.locator("#changes")).to_contain_text("The library goes by it")
    expect(page.locator("#toast")).to_contain_text(f"hat counts from {best:g} now")
    assert http.get("/page/pictures", params={"q": "hat"}).json()["total"] < before
    page.locator("#toast button").click()
    expect(page.locator("#use")).to_be_visible()
    assert http.get("/page/pictures", params={"q": "hat"}).json()["total"] == before
    page.goto(f"{running.url}/review")
    expect(page.locator("#overview tbody tr")).to_have_count(1)
    expect(page.locator("#overview tbody tr")).to_contain_text("20")
    page.goto(running.url)
    page.click("#history-open")
    expect(page.locator("#history-list li")).to_have_count(1)  # twenty entries of the journal are one line
    page.locator("#history-list button").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Undo in 20 pictures").click()
    expect(page.locator("#toast")).to_contain_text("20 put back")
    assert http.get("/review/queue", params={"tag": "hat"}).json()["judged"] == 0


def test_keys_move_undo_look_closely_and_go_back(running, true, http, page, expect):  # noqa: F811
    page.goto(f"{running.url}/review?tag=hat")
    cards = page.locator("#grid .card")
    expect(cards.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowRight")
    expect(cards.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    across = page.evaluate(
        "[...document.querySelectorAll('#grid .card')].filter((c, _, all) => c.offsetTop === all[0].offsetTop).length"
    )
    expect(cards.nth(1 + across)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("N")
    expect(cards.nth(1)).to_have_class(re.compile("is-not"))
    page.keyboard.press("y")
    expect(page.locator("#left")).to_have_text("2 judged, 40 left")
    page.keyboard.press("u")
    page.keyboard.press("u")
    expect(page.locator("#left")).to_have_text("0 judged, 42 left")
    expect(cards.nth(1)).to_have_attribute("aria-selected", "true")
    assert len(http.get("/edits").json()["entries"]) == 4
    page.keyboard.press("u")  # there is nothing more
    page.keyboard.press(" ")
    expect(page.locator("#look")).to_be_visible()
    page.keyboard.press("y")
    expect(page.locator("#looked")).to_have_attribute("alt", cards.nth(2).get_attribute("title"))
    page.keyboard.press("Escape")
    expect(page.locator("#look")).to_be_hidden()
    cards.nth(1).locator(".verdict.no").click()  # another answer to the same picture
    expect(cards.nth(1)).to_have_class(re.compile("is-not"))
    expect(page.locator("#left")).to_have_text("1 judged, 41 left")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_contain_text("yes, it shows this")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("#overview")).to_be_visible()


def test_somebody_else_was_faster_or_the_picture_is_gone(running, true, http, ids, library, page, expect):  # noqa: F811
    page.goto(f"{running.url}/review?tag=hat")
    cards = page.locator("#grid .card")
    first, second = (cards.nth(at).get_attribute("title") for at in (0, 1))
    said = {"tag": "hat", "verdicts": [{"mediaId": ids[first], "yes": False}], "who": "ben"}
    assert http.post("/review/verdicts", json=said).json()["given"] == 1
    page.keyboard.press("y")
    expect(page.locator("#toast")).to_contain_text("ben had judged it: no")
    expect(cards.first).to_have_class(re.compile("is-not"))
    (library / second).unlink()
    with closing(Database(running.db)) as database:
        Catalogue(database, library).scan()
    page.keyboard.press("y")
    expect(page.locator("#toast")).to_contain_text("not there any more")
    expect(cards.nth(1)).to_have_class(re.compile("gone"))


@pytest.mark.parametrize("device", [{**PHONE, "locale": "zh-CN"}], ids=["phone"])
def test_buttons_do_on_a_phone_what_keys_do(running, true, page, expect, device):  # noqa: F811
    page.goto(f"{running.url}/review?tag=hat")
    expect(page.locator("#question")).to_contain_text("这张图是")
    page.tap("#yes")
    page.tap("#no")
    expect(page.locator("#left")).to_contain_text("已判定 2")
    page.tap("#undo")
    expect(page.locator("#left")).to_contain_text("已判定 1")
    page.locator("#grid .card").nth(3).locator("button.yes").tap()
    expect(page.locator("#left")).to_contain_text("已判定 2")
    expect(page.locator("#brief")).to_contain_text("18")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@contextmanager
def copies(running, ids) -> Iterator[None]:
    media_ids = sorted(ids.values())
    hashes = {one: int(np.random.default_rng(one).integers(2**63)) for one in media_ids}
    hashes |= {media_ids[1]: hashes[media_ids[0]] ^ 1} | dict.fromkeys(media_ids[10:13], hashes[media_ids[10]])
    with closing(Database(running.db)) as database:
        put_vectors(database, {one: (hashes[one], [float(one), 1.0]) for one in media_ids})
    yield


def test_copies_lie_side_by_side_the_largest_group_first(running, ids, page, expect):  # noqa: F811
    page.goto(f"{running.url}/copies")
    expect(page.locator("#empty")).to_contain_text("No two pictures are copies")
    with copies(running, ids):
        page.goto(running.url)
        page.get_by_role("link", name="Copies").click()
        expect(page.locator("#found")).to_have_text("2 groups of copies")
        groups = page.locator("section.copies")
        expect(groups.first.locator(".card")).to_have_count(3)
        expect(groups.nth(1).locator(".card")).to_have_count(2)
        groups.nth(1).get_by_role("link", name="Find these").click()
        expect(page.locator("#found")).to_contain_text("2 pictures")


@pytest.mark.parametrize("device", [{"color_scheme": scheme} for scheme in ("dark", "light")], ids=["dark", "light"])
def test_text_can_be_read_in_both_schemes(running, true, ids, page, expect, device):  # noqa: F811
    page.goto(f"{running.url}/review?tag=hat")
    expect(page.locator("#grid .card")).to_have_count(20)
    answer(page, true, 20)
    expect(page.locator("#left")).to_contain_text("20 judged")
    expect(page.locator("#grid .card.is, #grid .card.is-not")).to_have_count(0)
    answer(page, true, 4)
    expect(page.locator("#left")).to_contain_text("24 judged")
    expect(page.locator("#best")).to_be_visible()
    assert page.evaluate(FAINT_TEXTS) == []
    page.goto(f"{running.url}/review")
    expect(page.locator("#overview tbody tr")).to_have_count(1)
    assert page.evaluate(FAINT_TEXTS) == []
    with copies(running, ids):
        page.goto(f"{running.url}/copies")
        expect(page.locator("section.copies")).to_have_count(2)
        assert page.evaluate(FAINT_TEXTS) == []


def test_a_tag_that_is_not_there_is_said(running, true, page, expect, complaints):  # noqa: F811
    page.goto(f"{running.url}/review?tag=nothing")
    expect(page.locator("#told")).to_have_text("No picture has a tag nothing.")
    assert complaints and all("404" in complaint for complaint in complaints)
    complaints.clear()
    page.fill("#find-input", "hat")
    page.wait_for_selector("#find-input-list [data-tag=hat]")
    page.keyboard.press("Enter")
    expect(page.locator("#grid .card")).to_have_count(20)
