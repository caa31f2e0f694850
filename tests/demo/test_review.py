"""Twenty answers to the demo's pictures move a threshold: over HTTP, and by keys in Chromium."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from demo.render import render
from demo.review import GUESSED, SHOWN
from service.embedded import Running, embedded
from tests.support.runs import ENGINE, run

PICTURES = 150


@dataclass(frozen=True)
class Shown:
    """What the demo left behind: its folder, what it printed, and the paths of pictures that truly show a hat."""

    folder: Path
    printed: str
    true: frozenset[str]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("demo")
    ended = run([*ENGINE, "demo", "--folder", str(folder), "--pictures", str(PICTURES)])
    assert ended.returncode == 0, ended.stderr
    truth = render(folder / "pictures", PICTURES, 7)
    return Shown(folder, ended.stdout, frozenset(one.path for one in truth if SHOWN in one.tags))


@pytest.fixture
def running(demo: Shown, tmp_path: Path) -> Iterator[Running]:
    """A library in which nobody has answered yet."""
    for file in demo.folder.glob("library.*"):
        shutil.copy(file, tmp_path)
    with embedded(demo.folder / "pictures", db=tmp_path / "library.db", rescan=0) as service:
        yield service


def test_the_demo_ends_with_a_threshold_that_twenty_answers_moved(demo: Shown) -> None:
    [line] = [line for line in demo.printed.splitlines() if line.startswith("  review ")]
    found = re.search(
        r"20 answers move .* from 0\.05 to ([\d.]+) \(([\d.]+) to ([\d.]+)\): F1 ([\d.]+) -> ([\d.]+)", line
    )
    assert found, line
    threshold, low, high, before, after = map(float, found.groups())
    assert 0.05 < low <= threshold <= high < 1 and after > before + 0.1


def test_twenty_answers_over_http(demo: Shown, running: Running) -> None:
    headers = {"Authorization": f"Bearer {running.token}"}
    with httpx.Client(base_url=running.url, headers=headers) as http:

        def having() -> set[str]:
            pictures = http.get("/search", params={"q": f'"{GUESSED}"', "limit": 200}).json()["pictures"]
            return {one["path"] for one in pictures}

        tags = {one["tag"] for one in http.get("/search/facets").json()["categories"][1]["tags"]}
        assert {GUESSED, "1girl"} <= tags  # the guess stands beside what the model gave
        before = having()
        queue = http.get("/review/queue", params={"tag": GUESSED, "limit": 20}).json()
        assert queue["judged"] == 0
        for one in queue["pictures"]:
            said = [{"mediaId": one["mediaId"], "yes": one["storageUrl"] in demo.true}]
            http.post("/review/verdicts", json={"tag": GUESSED, "verdicts": said}).raise_for_status()
        told = http.get("/review/estimate", params={"tag": GUESSED}).json()
        best = told["best"]["threshold"]
        assert best > 0.1 and told["best"]["f1"] > told["now"]["f1"] and told["lose"]["pictures"] > 0
        http.post("/review/threshold", json={"tag": GUESSED, "threshold": best}).raise_for_status()
        after = having()
        assert len(after & demo.true) / len(after) > len(before & demo.true) / len(before) + 0.2


@pytest.mark.full
def test_twenty_keys_in_a_browser(demo: Shown, running: Running) -> None:
    from playwright.sync_api import expect, sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "this test needs Chromium from the system's packages"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{running.url}/review?tag={GUESSED}")
        expect(page.locator("#grid .card")).to_have_count(20)
        for _ in range(20):
            path = page.locator("#grid .card[aria-selected=true]").get_attribute("title")
            page.keyboard.press("y" if path in demo.true else "n")
        expect(page.locator("#left")).to_contain_text("20 judged")
        expect(page.locator("#changes .loses")).to_contain_text("would lose the tag")
        best = float(page.locator("#best").inner_text())
        page.click("#use")
        expect(page.locator("#changes")).to_contain_text("The library goes by it")
        expect(page.locator("#learned")).to_contain_text(f"in use now: {best:g}")
        browser.close()
