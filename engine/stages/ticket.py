"""The media between the source and the ledger: each id at most once, and never more than the outbox has room for."""

import threading

from engine.flow.channels import Meter, Room, Stop
from engine.types import Media

MOST_WAITING = 1000
"""Media that may wait for a second chance; more than that are not the network's bad moment."""


class InFlight:
    """Ids that left the source and are not settled yet.

    `room` is reserved for each medium before it is read, so the ledger never has to refuse a result. Whoever settles a
    medium gives the room back (at once for a failure, after the API's yes for records).
    """

    def __init__(self, room: Room, stop: Stop) -> None:
        self.room = room
        self._stop = stop
        self._ids: set[int] = set()
        self._waiting: dict[int, Media] = {}  # media that get a second chance
        self._changed = threading.Condition()
        stop.on_stop(self._wake)

    def enter(self, media: Media, meter: Meter | None = None) -> bool:
        """Admit a medium; False if it is in flight already (catalogues repeat items while they change)."""
        with self._changed:
            if media.id in self._ids:
                return False
            self._ids.add(media.id)
        self.room.reserve(1, meter)
        return True

    def leave(self, *media: Media) -> None:
        """The outcomes of these media are on the disk."""
        with self._changed:
            self._ids.difference_update(item.id for item in media)
            self._changed.notify_all()

    def wait_for_second_chance(self, media: Media) -> bool:
        """Its read failed, perhaps only for the moment: networks blink, and SMB clients remember a "not found" for
        seconds. It is tried once more later.

        False if too many wait already: they keep their room, which must not run out before the catalogue does.
        """
        with self._changed:
            if len(self._waiting) >= min(MOST_WAITING, self.room.capacity // 2):
                return False
            self._waiting[media.id] = media
            self._changed.notify_all()
            return True

    def second_chances(self) -> list[Media]:
        """Wait until all else is settled; take out the media to be tried once more."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._ids) == len(self._waiting) or self._stop.is_set())
            waiting, self._waiting = list(self._waiting.values()), {}
            return waiting

    def __len__(self) -> int:
        return len(self._ids)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
