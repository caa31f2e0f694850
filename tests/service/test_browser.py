"""The page in headless Chromium, as a person uses it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.tagger import Tagger
from engine.vectors.store import Features, Of, VectorStore, vectors_of
from service.catalogue import Catalogue
from service.database import Database
from service.embedded import Running, embedded
from service.libraries import ledger_of
from tests.service.conftest import NAMES, draw, record

pytestmark = pytest.mark.full


@pytest.fixture
def device() -> dict[str, Any]:
    """What the browser says it is; by default a desktop's."""
    return {}


@pytest.fixture
def complaints() -> list[str]:
    """What the page complained of; a test takes out what it provoked."""
    return []


@pytest.fixture
def page(running: Running, device: dict[str, Any], complaints: list[str]) -> Iterator[Any]:
    """A browser page that may neither complain nor leave the service."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "this test needs Chromium from the system's packages"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(**device)
        opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("dialog", lambda dialog: complaints.append(f"a script ran: {dialog.message}"))
        opened.on("request", lambda r: None if r.url.startswith(running.url) else complaints.append(r.url))
        yield opened
        browser.close()
    assert complaints == []


@pytest.fixture
def expect() -> Any:
    """Playwright's waiting assertions: the page's CSP forbids the evaluated kind."""
    from playwright.sync_api import expect

    expect.set_options(timeout=20_000)  # milliseconds; the usual 5 s are too few on a busy machine
    return expect


@pytest.fixture
def tagged(http, ids):
    records = [record(ids[name], tag) for name in NAMES[1:] for tag in ("long_hair", "<script>alert(2)</script>")]
    records += [record(ids[NAMES[0]], "short_hair"), record(ids[NAMES[0]], "rating:safe")]
    assert http.post("/media/recognition/bulk", json=records).status_code == 200


def test_search_open_and_go_back(running, tagged, page, expect):
    page.goto(running.url)
    cards = page.locator(".card")
    expect(page.locator(".card")).to_have_count(len(NAMES))
    assert page.locator("#pictures").inner_text() == str(len(NAMES))

    page.fill("#input", "long")
    page.wait_for_selector("#suggestions [data-tag=long_hair]")
    page.press("#input", "ArrowDown")
    page.press("#input", "Enter")
    page.wait_for_selector("#chips li")
    expect(page.locator(".card")).to_have_count(3)
    assert "q=long_hair" in page.url

    cards.last.click()
    page.wait_for_selector("#dialog[open]")
    assert page.locator("#name").inner_text() in NAMES[1:]
    assert page.locator("#all-tags li").count() == 2
    first = page.url
    page.keyboard.press("ArrowLeft")
    expect(page).not_to_have_url(first)
    page.go_back()
    expect(page.locator("#dialog")).to_be_hidden()
    assert re.search(r"\?q=long_hair$", page.url)
    assert cards.count() == 3

    page.locator("#chips .label").click()  # turns it round
    expect(page.locator(".card")).to_have_count(1)
    page.locator("#chips .off").click()
    expect(page.locator(".card")).to_have_count(len(NAMES))
    page.locator("#facets button[title=short_hair]").click()
    expect(page.locator(".card")).to_have_count(1)
    page.locator("#facets button[title=short_hair]").click()  # the second click excludes
    expect(page.locator("#chips .not")).to_have_count(1)
    expect(page.locator(".card")).to_have_count(3)


def test_a_sent_link_opens_the_picture_and_escape_closes_it(running, tagged, ids, page, expect):
    page.goto(f"{running.url}/?q=long_hair&picture={ids[NAMES[3]]}")
    page.wait_for_selector("#dialog[open]")
    assert page.locator("#name").inner_text() == NAMES[3]
    page.keyboard.press("Escape")
    expect(page.locator("#dialog")).to_be_hidden()
    assert page.url == f"{running.url}/?q=long_hair"


def test_empty_search_and_the_documentation(running, tagged, page, expect):
    page.goto(f"{running.url}/?q=nonsense")
    page.wait_for_selector("#empty:not([hidden])")
    page.get_by_role("button", name="Clear the search").click()
    expect(page.locator(".card")).to_have_count(len(NAMES))
    page.goto(f"{running.url}/docs")
    expect(page.locator("#calls section")).not_to_have_count(0)


PHONE = {"viewport": {"width": 400, "height": 800}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_no_keyboard_pops_up_on_a_phone(running, tagged, page, device):
    page.goto(f"{running.url}/?tag=long_hair")
    page.wait_for_selector(".card")
    focused = "document.activeElement.id"
    assert page.evaluate(focused) == ("" if device else "input")
    if device:
        page.tap("#chips .off")  # what is no text is no wish to type
        page.wait_for_selector("#chips:empty", state="attached")
        assert page.evaluate(focused) != "input"
        page.tap(".lens")
        assert page.evaluate(focused) == "input"


@pytest.mark.parametrize("device", [{"color_scheme": scheme} for scheme in ("dark", "light")], ids=["dark", "light"])
def test_text_can_be_read_in_both_schemes(running, tagged, ids, page, device):
    """WCAG's contrast of 4.5 between every text on the page and what lies under it."""
    for address in ("/", "/?q=long_hair+-smile", "/?q=nonsense", f"/?picture={ids[NAMES[0]]}", "/docs", "/dictionary"):
        page.goto(running.url + address)
        waited = {"/docs": "#calls section", "/dictionary": "#find-input"}
        page.wait_for_selector(waited.get(address, ".card, #empty:not([hidden])"))
        if "picture" in address:
            page.wait_for_selector("#dialog[open]")
        faint = page.evaluate(FAINT_TEXTS)
        assert faint == [], (address, faint)
    ground = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ground')")
    assert ground == ("#0e0e15" if device["color_scheme"] == "dark" else "#f6f6fa")


FAINT_TEXTS = """() => {
  const rgba = (text) => { const n = text.match(/[\\d.]+/g).map(Number);
    const whole = text.startsWith("color(srgb") ? 255 : 1;
    return [n[0] * whole, n[1] * whole, n[2] * whole, n[3] ?? 1]; };
  const over = ([r, g, b, a], under) => [r, g, b].map((x, i) => x * a + under[i] * (1 - a));
  const ground = (element) => {
    if (!element) return rgba(getComputedStyle(document.body).backgroundColor).slice(0, 3);
    return over(rgba(getComputedStyle(element).backgroundColor), ground(element.parentElement));
  };
  const linear = (x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  const light = (colour) => colour.map((x) => linear(x / 255))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
    const under = ground(element);
    const [a, b] = [light(over(rgba(getComputedStyle(element).color), under)), light(under)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push([texts.currentNode.data.trim(), contrast.toFixed(2)]);
  }
  return found;
}"""


def test_a_picture_is_shown_pixel_by_pixel(running, library, ids, page, expect):
    media_id = ids["a.jpg"]
    draw(library / "a.jpg", (3000, 2000))
    page.goto(f"{running.url}/?picture={media_id}")
    shown = page.locator("#shown")
    expect(page.locator("#size")).to_contain_text("3000 × 2000")
    whole = shown.bounding_box()
    shown.click(position={"x": whole["width"] * 0.9, "y": whole["height"] * 0.5})
    expect(page.locator("#pane")).to_have_class(re.compile("actual"))
    assert (shown.bounding_box()["width"], shown.bounding_box()["height"]) == (3000, 2000)
    left = page.evaluate("document.getElementById('pane').scrollLeft")
    assert left == page.evaluate(
        "(p => p.scrollWidth - p.clientWidth)(document.getElementById('pane'))"
    )  # its right end

    page.mouse.move(400, 300)
    page.mouse.down()
    page.mouse.move(500, 300, steps=5)
    page.mouse.up()
    assert page.evaluate("document.getElementById('pane').scrollLeft") == left - 100
    expect(page.locator("#pane")).to_have_class(re.compile("actual"))  # a drag is no click

    page.keyboard.press("z")
    expect(page.locator("#zoom")).to_have_attribute("aria-pressed", "false")
    assert shown.bounding_box() == whole
    page.click("#zoom")
    expect(page.locator("#zoom")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#zoom")).to_have_attribute("aria-pressed", "false")  # the next one is whole again


def test_stepping_goes_past_what_is_loaded(running, library, tmp_path, page, expect):
    for number in range(150):
        draw(library / f"more {number:03}.jpg")
    with closing(Database(running.db)) as database:
        Catalogue(database, library).scan()
        ids = [row.id for row in Catalogue(database, library).segment(0, 1000)]
    page.goto(f"{running.url}/?picture={ids[100]}")  # a sent link: the grid holds the first 60
    page.wait_for_selector("#dialog[open]")
    for step, key in (
        (101, "ArrowRight"),
        (102, "ArrowRight"),
        (101, "ArrowLeft"),
        (100, "ArrowLeft"),
        (99, "ArrowLeft"),
    ):
        page.keyboard.press(key)
        expect(page).to_have_url(f"{running.url}/?picture={ids[step]}")
    page.goto(f"{running.url}/?picture={ids[-1]}")
    page.wait_for_selector("#dialog[open]")
    page.keyboard.press("ArrowRight")  # there is none after the last
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(f"{running.url}/?picture={ids[-2]}")


def test_the_number_of_results_is_said_and_there_is_one_heading(running, tagged, page, expect, complaints):
    page.goto(running.url)
    found = page.locator("#found")
    expect(found).to_have_text("4 pictures")
    page.fill("#input", "long_hair")
    page.press("#input", "Enter")
    expect(found).to_have_text("3 pictures, best match first")
    page.fill("#input", "nonsense")
    page.press("#input", "Enter")
    expect(found).to_have_text("0 pictures")
    expect(page.locator("#wrong")).to_contain_text("Nothing is called “nonsense”")
    page.press("#input", "Backspace")
    expect(found).to_have_text("3 pictures, best match first")
    page.goto(f"{running.url}/?q={'a' * 10_001}")
    expect(found).to_have_text(re.compile("10000 characters"))
    assert complaints and all("422" in complaint for complaint in complaints)
    complaints.clear()
    expect(page.locator("h1")).to_have_count(1)
    page.goto(running.url)
    expect(found).to_have_text("4 pictures")
    page.goto(f"{running.url}/docs")
    expect(page.locator("h1")).to_have_count(1)


def test_a_picture_is_asked_for_again(running, http, ids, tagged, page, expect):
    def versions() -> dict[int, str]:
        segment = {"segmentStart": 0, "limit": 100, "storageStatus": "ALL_DL"}
        items = http.post(running.segment_url, json=segment).json()["data"]
        return {item["id"]: item["fileVersion"] for item in items}

    before = versions()
    page.goto(f"{running.url}/?picture={ids['a.jpg']}")
    page.click("#again")
    expect(page.locator("#again")).to_have_text("Will be tagged again")
    expect(page.locator("#again")).to_be_disabled()
    after = versions()
    assert {media_id for media_id in after if after[media_id] != before[media_id]} == {ids["a.jpg"]}
    page.click("#next")
    expect(page.locator("#again")).to_have_text("Tag again")
    expect(page.locator("#again")).to_be_enabled()


LANGUAGES = [("zh-CN", "标签", "长发"), ("ja-JP", "タグ", "ロングヘア"), ("en-US", "tags", "long hair")]


JOURNALS = {
    "zh-CN": ("审核：hat", "收回对 smile 的判断", "重做：hat, red_hat", "撤销：hat, red_hat", "改名：long_hair"),
    "ja-JP": (
        "確認作業：hat",
        "smile の判断を取り消し",
        "やり直す：hat, red_hat",
        "元に戻す：hat, red_hat",
        "名前の変更：long_hair",
    ),
    "en-US": (
        "Review: hat",
        "nothing said of smile",
        "Do it again: hat, red_hat",
        "Undo: hat, red_hat",
        "Rename: long_hair",
    ),
}


@pytest.mark.parametrize(("device", "words"), [({"locale": code}, words) for code, words in JOURNALS.items()])
def test_both_journals_speak_the_pages_language(running, tagged, ids, page, expect, words):
    reviewed, cleared, redo, undo, renamed = words

    def post(path: str, **body: object) -> Any:
        headers = {"Authorization": f"Bearer {running.token}"}
        return httpx.post(running.url + path, json={"who": "me", **body}, headers=headers).raise_for_status().json()

    a, b, c = ids["a.jpg"], ids["b.PNG"], ids["nested folder/été/c.webp"]
    first = post("/edits", pictures=[a, b], yes=["red_hat"], no=["hat"])
    undone = post(f"/edits/{first['id']}/undo")
    post(f"/edits/{undone['id']}/undo")
    post("/edits", pictures=[a], yes=["smile"])
    post("/edits", pictures=[a], clear=["smile"])
    post("/review/verdicts", tag="hat", verdicts=[{"mediaId": c, "yes": True}])
    page.goto(running.url)
    page.click("#history-open")
    rows = page.locator("#history-list li span")
    expect(rows).to_have_text([f"{reviewed} (✓ 1, ✗ 0)", cleared, "+smile", redo, undo, "+red_hat −hat"])
    post("/tags/edit", key="long_hair", do="rename", name="tresses", lang="en")
    page.goto(f"{running.url}/dictionary")
    page.click("#journal-open")
    expect(page.locator("#journal li span").first).to_have_text(renamed)
    expect(page.locator("#journal li").first).to_contain_text("rename long_hair to tresses in en")


@pytest.mark.parametrize(("device", "word", "name"), [({"locale": code}, *words) for code, *words in LANGUAGES])
def test_it_speaks_the_browsers_language_and_finds_by_every_name(running, tagged, page, expect, device, word, name):
    page.goto(running.url)
    expect(page.locator(".counters")).to_contain_text(word)
    for typed, _, other in LANGUAGES:
        page.goto(running.url)
        page.fill("#input", f'"{other}"')
        page.press("#input", "Enter")
        expect(page.locator(".card")).to_have_count(3)
        expect(page.locator("#chips .label").first).to_have_text(re.compile(re.escape(name[:1])))
        assert typed
    page.select_option("#language", "en")
    expect(page.locator(".counters")).to_contain_text("tags")


def test_a_person_says_yes_and_no_and_takes_it_back(running, tagged, ids, page, expect):
    page.goto(f"{running.url}/?picture={ids['a.jpg']}")
    row = page.locator("#all-tags li[data-tag=short_hair]")
    row.locator("button.verdict").nth(1).click()
    expect(row).to_have_class(re.compile("out"))
    page.fill("#add-input", "my own tag")
    page.press("#add-input", "Enter")
    expect(page.locator("#all-tags li[data-tag=my_own_tag]")).to_contain_text("you said so")
    page.keyboard.press("Escape")
    page.goto(f"{running.url}/?q=my_own_tag+source:human")
    expect(page.locator(".card")).to_have_count(1)
    page.click("#history-open")
    expect(page.locator("#history-list li")).to_have_count(2)
    page.locator("#history-list button").first.click()
    expect(page.locator("#toast")).to_contain_text("1 put back")
    page.click("#history-close")
    expect(page.locator(".card")).to_have_count(0)


def test_all_that_was_found_is_edited_at_once_with_a_preview_and_undo(running, tagged, page, expect):
    page.goto(f"{running.url}/?q=long_hair")
    expect(page.locator(".card")).to_have_count(3)
    page.click("#edit-found")
    page.fill("#edit-add-input", "braid")
    page.press("#edit-add-input", "Enter")
    page.fill("#edit-take-input", "long_hair")
    page.press("#edit-take-input", "Enter")
    page.click("#edit-preview")
    expect(page.locator("#edit-told")).to_contain_text("braid: 3 would change")
    page.click("#edit-apply")
    expect(page.locator("#toast")).to_contain_text("6 changed")
    expect(page.locator(".card")).to_have_count(0)
    page.locator("#toast button").click()
    expect(page.locator(".card")).to_have_count(3)


def test_selected_pictures_are_edited(running, tagged, page, expect):
    page.goto(running.url)
    page.locator(".card").first.click(modifiers=["Control"])
    page.locator(".card").nth(1).click()
    expect(page.locator("#selected")).to_have_text("2 selected")
    page.click("#select-edit")
    page.fill("#edit-add-input", "chosen")
    page.press("#edit-add-input", "Enter")
    page.click("#edit-apply")
    page.goto(f"{running.url}/?q=chosen")
    expect(page.locator(".card")).to_have_count(2)


def test_an_ambiguous_name_is_a_choice_that_can_be_narrowed(running, http, ids, page, expect):
    for name, tag in (("a.jpg", "black_thighhighs"), ("b.PNG", "black_pantyhose")):
        http.post("/media/recognition", json=record(ids[name], tag))
    page.goto(f"{running.url}/?q=黑丝")
    expect(page.locator(".card")).to_have_count(2)
    page.click("#chips summary")
    page.locator("#chips details li", has_text="black_pantyhose").click()
    expect(page.locator(".card")).to_have_count(1)
    assert "black_pantyhose" in page.url


def test_ratings_are_left_out_and_that_is_remembered(running, tagged, page, expect):
    page.goto(running.url)
    expect(page.locator(".card")).to_have_count(4)
    page.locator("#ratings .eye").click()
    expect(page.locator(".card")).to_have_count(3)
    page.reload()
    expect(page.locator(".card")).to_have_count(3)
    page.locator("#ratings .eye").click()
    expect(page.locator(".card")).to_have_count(4)


def test_the_least_score_answers_at_once(running, tagged, http, ids, page, expect):
    http.post("/media/recognition", json=record(ids["a.jpg"], "weak", "0.510"))
    page.goto(f"{running.url}/?q=weak")
    expect(page.locator(".card")).to_have_count(1)
    page.locator("#least").fill("0.6")
    expect(page.locator(".card")).to_have_count(0)
    page.locator("#least").fill("0.5")
    expect(page.locator(".card")).to_have_count(1)


def test_the_dictionary_is_edited_merged_and_undone(running, tagged, page, expect):
    page.goto(f"{running.url}/dictionary?key=long_hair")
    expect(page.locator("#concept h2")).to_contain_text("long_hair")
    form = page.locator("#concept section", has=page.get_by_role("heading", name="English")).locator("form")
    form.locator("input").fill("<b>tresses</b>")
    form.locator("button").click()
    expect(page.locator("#concept")).to_contain_text("<b>tresses</b>")
    page.fill("#new-key", "locks_of_hair")
    page.click("#new button")
    expect(page.locator("#concept h2")).to_contain_text("locks_of_hair")
    page.fill("#merge", "long_hair")
    page.locator("#merge-list [data-tag=long_hair]").click()
    expect(page.locator("#concept")).to_contain_text("locks_of_hair → long_hair")
    page.get_by_role("button", name="Do it").click()
    expect(page.locator("#concept h2")).to_contain_text("long_hair")
    page.goto(f'{running.url}/?q="<b>tresses</b>"')
    expect(page.locator(".card")).to_have_count(3)
    page.goto(f"{running.url}/dictionary")
    page.click("#journal-open")
    page.locator("#journal button").first.click()
    expect(page.locator("#toast")).to_contain_text("put back")


def test_keys_lead_through_the_page(running, tagged, page, expect):
    page.goto(running.url)
    expect(page.locator(".card")).to_have_count(4)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".card").nth(1)).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator("#selected")).to_have_text("1 selected")
    page.keyboard.press("Escape")
    expect(page.locator("#selection")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#input")).to_be_focused()


def test_two_words_are_offered_together_first(running, tagged, page, expect):
    page.goto(running.url)
    page.locator("#input").press_sequentially("hat long ha")
    first = page.locator("#suggestions li").first
    expect(first).to_have_attribute("data-tag", "long_hair")
    page.locator("#input").press_sequentially("ir")
    expect(first).to_have_attribute("data-tag", "long_hair")
    first.click()
    expect(page.locator("#chips li")).to_have_count(2)
    assert page.url.endswith("?q=hat+long_hair")
    page.fill("#input", "-long hair")
    page.locator("#suggestions [data-tag=long_hair]").click()
    expect(page.locator("#chips .not")).to_have_count(1)
    assert page.url.endswith("?q=hat+long_hair+-long_hair")


ABROAD = [
    ({"locale": "zh-CN"}, "安全", "一般", "括号没有闭合", "没有特征向量", "没有模型"),
    ({"locale": "ja-JP"}, "セーフ", "一般", "かっこが閉じていません", "特徴ベクトルがありません", "モデルがありません"),
]


@pytest.mark.parametrize(("device", "rating", "heading", "unclosed", "no_vectors", "no_model"), ABROAD)
def test_everything_is_said_in_the_readers_language(
    running, tagged, page, expect, complaints, device, rating, heading, unclosed, no_vectors, no_model
):
    page.goto(f"{running.url}/?q=rating:safe")
    expect(page.locator(".card .rating")).to_have_text(rating)
    expect(page.locator("#facets h3").first).to_have_text(heading)
    page.goto(f"{running.url}/?q=(long_hair similar:1")
    expect(page.locator("#wrong")).to_contain_text(unclosed)
    expect(page.locator("#wrong")).to_contain_text(no_vectors)
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.locator("#toast")).to_contain_text(no_model)
    assert [("404" in one) for one in complaints] == [True]
    complaints.clear()


def test_an_empty_field_is_said(running, tagged, ids, page, expect):
    said = "The field is empty: type a name first."
    page.goto(f"{running.url}/?picture={ids['a.jpg']}")
    page.wait_for_selector("#dialog[open]")
    page.press("#add-input", "Enter")
    expect(page.locator("#dialog #toast")).to_have_text(said)  # over the dialog, not under it
    page.goto(f"{running.url}/dictionary")
    page.fill("#new-key", "  ")
    page.click("#new button")
    expect(page.locator("#toast")).to_have_text(said)
    expect(page.locator("#new-key")).to_be_focused()
    page.goto(f"{running.url}/dictionary?key=long_hair")
    page.locator("#concept section form button").first.click()
    expect(page.locator("#toast")).to_have_text(said)


def test_an_undo_says_what_it_undoes_and_what_it_left_and_asks_where_it_is_much(
    running, library, tagged, http, page, expect
):
    for number in range(20):
        draw(library / f"more {number:03}.jpg")
    with closing(Database(running.db)) as database:
        Catalogue(database, library).scan()
    page.goto(running.url)
    expect(page.locator("#edit-found")).to_have_text("Edit all 24 pictures")
    page.click("#edit-found")
    page.fill("#edit-add-input", "mine")
    page.press("#edit-add-input", "Enter")
    page.press("#edit-add-input", "Enter")
    expect(page.locator("#edit #toast")).to_contain_text("The field is empty")
    page.click("#edit-apply")
    expect(page.locator("#toast")).to_contain_text("24 changed")
    expect(page.locator("#toast button")).to_have_text("Undo: +mine")
    one = http.get("/page/pictures", params={"q": "mine"}).json()["pictures"][0]["id"]
    http.post("/edits", json={"pictures": [one], "no": ["mine"]}).raise_for_status()
    page.click("#history-open")
    buttons = page.locator("#history-list button")
    expect(buttons).to_have_text(["Undo in 1 picture", "Undo in 24 pictures"])
    buttons.nth(1).click()
    asked = page.get_by_role("alertdialog")
    expect(asked).to_contain_text("“+mine”")
    asked.get_by_role("button", name="Cancel").click()
    expect(asked).to_have_count(0)
    expect(buttons).to_have_count(2)
    buttons.nth(1).click()
    asked.get_by_role("button", name="Undo in 24 pictures").click()
    expect(page.locator("#history #toast")).to_have_text("23 put back, 1 changed since and left")
    expect(page.locator("#history-list li").nth(2)).to_contain_text("undone")
    assert buttons.first.inner_text() == "Do it again in 23 pictures"


def test_nothing_is_edited_by_a_query_that_cannot_be_read(running, tagged, page, expect):
    for wrong in ("long_hair score:2", "-nonsense"):
        page.goto(f"{running.url}/?q={wrong}")
        expect(page.locator("#edit-found")).to_be_disabled()
        expect(page.locator("#edit-why")).to_contain_text("mend it first")
    page.goto(f"{running.url}/?q=long_hair")
    expect(page.locator("#edit-found")).to_be_enabled()
    expect(page.locator("#edit-why")).to_be_hidden()


class TestWithAModelButWithoutVectors:
    @pytest.fixture
    def running(self, library: Path, tmp_path: Path, tiny_model: Path) -> Iterator[Running]:
        with (
            Tagger(tiny_model, device="cpu", threshold=0.001, features=True) as tagger,
            embedded(library, db=tmp_path / "library.db", model=tiny_model, tagger=tagger, rescan=0) as service,
        ):
            yield service

    @pytest.mark.parametrize(
        ("device", "dropped", "none", "broken"),
        [
            ({"locale": "en-US"}, "No vectors are kept", "no vectors are kept", "Not a picture"),
            ({"locale": "zh-CN"}, "没有特征向量", "没有特征向量", "无法读取这张图片"),
            ({"locale": "ja-JP"}, "特徴ベクトルがない", "特徴ベクトルがありません", "画像として読み取れません"),
        ],
    )
    def test_that_nothing_similar_can_be_found_is_said(
        self, running, library, ids, page, expect, complaints, device, dropped, none, broken
    ):
        page.goto(f"{running.url}/?picture={ids['a.jpg']}")
        page.click("#alike")
        expect(page.locator("#wrong")).to_contain_text(none)
        assert page.url.endswith(f"?q=similar%3A{ids['a.jpg']}")
        page.locator("#file").set_input_files(library / "a.jpg")
        expect(page.locator("#toast")).to_contain_text(dropped)
        expect(page.locator("#found")).to_contain_text(dropped)
        assert complaints == []
        page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
        expect(page.locator("#toast")).to_contain_text(broken)
        assert ["422" in one for one in complaints] == [True]
        complaints.clear()


class TestWithVectors:
    @pytest.fixture
    def running(self, library: Path, tmp_path: Path, tiny_model: Path) -> Iterator[Running]:
        with (
            Tagger(tiny_model, device="cpu", threshold=0.001, features=True) as tagger,
            embedded(library, db=tmp_path / "library.db", model=tiny_model, tagger=tagger, rescan=0) as service,
        ):
            look = tagger.look(library / "a.jpg")
            assert look.features is not None
            of = Of("m", look.model, len(look.features))
            with closing(VectorStore(vectors_of(ledger_of(service.db)), of)) as store:
                store.put(Features(one, look.hash or 0, look.features) for one in range(1, 5))
            yield service

    def test_what_looks_like_a_dropped_picture_is_shown_as_any_search_shows_it(
        self, running, library, ids, http, page, expect
    ):
        kinds = {"a.jpg": "general", "b.PNG": "explicit"}
        records = [record(ids[name], tag) for name, kind in kinds.items() for tag in (f"rating:{kind}", "cat_ears")]
        assert http.post("/media/recognition/bulk", json=records).status_code == 200
        page.goto(running.url)
        page.locator("#file").set_input_files(library / "a.jpg")
        expect(page.locator("#found")).to_contain_text("like the one you dropped")
        expect(page.locator(".card")).to_have_count(4)
        expect(page.locator(f'.card[data-id="{ids["a.jpg"]}"]')).to_contain_text("cat ears")
        page.locator("#ratings li", has_text="explicit").locator("button.eye").click()
        expect(page.locator(".card")).to_have_count(3)
        page.locator("#file").set_input_files([])
        page.locator("#file").set_input_files(library / "a.jpg")
        expect(page.locator("#found")).to_contain_text("like the one you dropped")
        expect(page.locator(".card")).to_have_count(3)
        expect(page.locator(f'.card[data-id="{ids["b.PNG"]}"]')).to_have_count(0)
