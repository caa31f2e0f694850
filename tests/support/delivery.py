"""What the tests of the delivery share: a real ledger, a service not ours, and the way from one to the other."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.api.addresses import ApiConfig
from engine.api.backoff import Backoff
from engine.api.client import MediaApi
from engine.api.messages import pairs, similarity
from engine.api.token import Token
from engine.delivery.chunks import Limits, OutboxMedium
from engine.delivery.loop import Delivery
from engine.ledger.ledger import Ledger
from engine.ledger.schema import OutboxItem
from engine.types import Media, Tagged, TagScore
from tests.support import ledgers
from tests.support.media_server import MediaServer

TOKEN = "a-token-for-tests"


def tagged(count: int, tags: int = 3, first: int = 1) -> list[Tagged]:
    """Media with records, ids from `first`; odd ids came as strings."""
    return [
        ledgers.tagged(
            Media(i, f"{i}.jpg", i if i % 2 else str(i)),
            *(TagScore(f"tag {t} of {i}: 赤", (900 - t) / 1000) for t in range(tags)),
        )
        for i in range(first, first + count)
    ]


def expected(media: Iterable[Tagged]) -> dict[tuple[str, str], str]:
    return {(str(m.media.id), tag): similarity(score) for m in media for tag, score in m.tags}


def outbox_items(*records: int) -> list[OutboxItem]:
    """Rows of an outbox without a ledger: a medium with so many records each, numbered from 1."""
    return [
        OutboxItem(seq, Media(seq, f"{seq}.jpg", seq), pairs([(f"t{i}", 0.9) for i in range(count)]), 0)
        for seq, count in enumerate(records, 1)
    ]


def outbox_media(*records: int) -> tuple[OutboxMedium, ...]:
    """The same as a chunk holds them."""
    return tuple(OutboxMedium.of(item) for item in outbox_items(*records))


@dataclass
class Bench:
    """A ledger, a service and how to deliver from the one to the other."""

    ledger: Ledger
    server: MediaServer

    def put(self, media: list[Tagged], *, replaces: bool = False) -> None:
        self.ledger.admit([item.media for item in media])
        ledgers.store(self.ledger, media, replaces=replaces).result(30)

    @contextmanager
    def delivering(
        self,
        *,
        bulk: bool = True,
        replace: bool = False,
        limits: Limits | None = None,
        grace_s: float = 4.0,
        **settings,
    ) -> Iterator[Delivery]:
        """A running delivery, which is stopped at the end."""
        settings = {"backoff": Backoff(base_s=0.002, cap_s=0.01, longest_s=0.01, seed=1), **settings}
        url = self.server.bulk_url if bulk else None
        replacing = self.server.replace_url if replace else None
        config = ApiConfig(
            self.server.segment_url,
            self.server.recognition_url,
            **{"recognition_bulk_url": url, "recognition_replace_url": replacing, **settings},
        )
        api = MediaApi(config, Token(TOKEN), book=self.ledger)
        delivery = Delivery(self.ledger, api, limits, grace_s=grace_s)
        self.ledger.on_commit(delivery.wake)
        delivery.start()
        try:
            yield delivery
        finally:
            delivery.stop()
            assert delivery.join(10)
            api.close()

    def deliver(self, **settings) -> Delivery:
        """Deliver all there is."""
        with self.delivering(**settings) as delivery:
            delivery.drain()
            assert delivery.join(60)
        return delivery

    def fails(self, error: type[Exception], text: str, **settings) -> Delivery:
        """Deliver; it must end with this error."""
        delivery = self.deliver(**settings)
        assert isinstance(delivery.error, error), delivery.error
        assert text in str(delivery.error)
        return delivery

    def counts(self) -> dict[str, int]:
        return {outcome.value: n for outcome, n in self.ledger.counts().items() if n}

    def posted(self) -> list[list[str]]:
        """The media ids of each request, in order."""
        return [list(dict.fromkeys(str(r["mediaId"]) for r in request.records)) for request in self.server.posts()]
