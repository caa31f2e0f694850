"""The page in headless Chromium, as a person uses it."""

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from service.embedded import Running
from tests.service.conftest import NAMES, record

pytestmark = pytest.mark.full


@pytest.fixture
def page(running: Running) -> Iterator[Any]:
    """A browser page that may neither complain nor leave the service."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "this test needs Chromium from the system's packages"
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page()
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
    expect(page.locator(".card")).to_have_count(3)
    page.wait_for_selector("#suggestions [data-tag=long_hair]")
    page.press("#input", "Enter")
    page.wait_for_selector("#chips li")
    assert "tag=long_hair" in page.url

    cards.last.click()
    page.wait_for_selector("dialog[open]")
    assert page.locator("#name").inner_text() in NAMES[1:]
    assert page.locator("#all-tags li").count() == 2
    first = page.url
    page.keyboard.press("ArrowLeft")
    expect(page).not_to_have_url(first)
    page.go_back()
    expect(page.locator("dialog")).to_be_hidden()
    assert re.search(r"\?tag=long_hair$", page.url)
    assert cards.count() == 3

    page.locator("#chips button").click()
    expect(page.locator(".card")).to_have_count(len(NAMES))
    page.get_by_role("button", name="System").click()
    expect(page.locator(".card")).to_have_count(1)


def test_a_sent_link_opens_the_picture_and_escape_closes_it(running, tagged, ids, page, expect):
    page.goto(f"{running.url}/?q=hair&picture={ids[NAMES[3]]}")
    page.wait_for_selector("dialog[open]")
    assert page.locator("#name").inner_text() == NAMES[3]
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    assert page.url == f"{running.url}/?q=hair"


def test_empty_search_and_the_documentation(running, tagged, page, expect):
    page.goto(f"{running.url}/?q=nonsense")
    page.wait_for_selector("#empty:not([hidden])")
    page.get_by_role("button", name="Clear the search").click()
    expect(page.locator(".card")).to_have_count(len(NAMES))
    page.goto(f"{running.url}/docs")
    expect(page.locator("#calls section")).to_have_count(3)
