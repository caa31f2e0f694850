"""A library of our own that is followed: replaced pictures and those asked for again, by the real service."""

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import httpx

from engine.api.addresses import ApiConfig
from engine.api.client import MediaApi
from engine.api.token import Token
from engine.delivery.loop import Delivery
from engine.flow.channels import Stop
from engine.ledger.ledger import Ledger
from engine.ledger.schema import LedgerView
from engine.types import Outcome
from service.embedded import Running, embedded
from tests.support.pipelines import QUICK, build, draw


def follow(running: Running, library: Path, state: Path, *steps: Callable[[], bool]) -> int:
    """Follow the library until each step has said that it is done; how many pictures were tagged."""
    stop, left = Stop(), list(steps)
    config = ApiConfig(
        running.segment_url, running.recognition_url, recognition_replace_url=running.recognition_replace_url
    )
    with Ledger(state) as ledger, closing(MediaApi(config, Token(running.token), stop)) as api:
        ledger.name_model("colours")
        delivery = Delivery(ledger, api, on_fatal=stop.set)
        ledger.on_commit(delivery.wake)

        def tick() -> None:
            if left and left[0]():
                left.pop(0)
            if not left:
                stop.set()

        waits = replace(QUICK, full_sweep=0.05)
        pipeline = build(api, library, ledger, stop, sinks=[delivery], follow=0.02, waits=waits)  # type: ignore[arg-type]
        pipeline.run(tick)
    assert not left
    return pipeline.tally.images


def test_a_picture_that_is_replaced_or_asked_for_while_it_is_followed_is_tagged_again(tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    for number in range(4):
        draw(library / f"{number}.png", number)
        os.utime(library / f"{number}.png", (1_000_000_000, 1_000_000_000))
    with embedded(library, db=tmp_path / "library.db", rescan=0.05) as running, httpx.Client() as page:

        def shown(number: int) -> list[str]:
            tags = page.get(f"{running.url}/page/pictures/{number + 1}").json()["tags"]
            return sorted(entry["tag"] for entry in tags)

        before = ["dark", "red"], ["dark", "green"], ["blue", "dark"]

        def tagged() -> bool:
            return tuple(map(shown, range(3))) == before and shown(3) == ["blue", "bright", "green", "red"]

        def overwrite() -> bool:
            draw(library / "0.png", 2)
            os.utime(library / "0.png", (1_000_000_001, 1_000_000_001))
            return True

        state = tmp_path / "state.db"
        assert follow(running, library, state, tagged, overwrite, lambda: shown(0) == ["blue", "dark"]) == 5
        asked = page.post(f"{running.url}/page/pictures/3/again", headers={"Origin": running.url})
        assert asked.status_code == 200

        def done_again() -> bool:
            with LedgerView(state) as view:
                known = view.find([3])[3]
            return known.version is not None and known.version.endswith("-1") and known.outcome is Outcome.DONE

        assert follow(running, library, state, done_again) == 1
        assert tuple(map(shown, range(1, 3))) == before[1:]
