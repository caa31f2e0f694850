"""What follows from `implies`: for each concept all broader ones, however far; rebuilt in the transaction that
changes a relation."""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence

from service.dictionary.errors import ConflictError

_REBUILD = """
    INSERT INTO closure (concept, broader)
    WITH RECURSIVE reached (concept, broader) AS (
        SELECT concept, broader FROM implies
        UNION
        SELECT reached.concept, implies.broader FROM reached JOIN implies ON implies.concept = reached.broader
    )
    SELECT concept, broader FROM reached
"""


def rebuild(connection: sqlite3.Connection) -> None:
    """Make the closure anew. Raises ConflictError, with the path, if concepts imply each other in a circle."""
    if circle := circle_in(edges(connection)):
        raise ConflictError(f"that would let a concept imply itself: {' -> '.join(_keys(connection, circle))}")
    connection.execute("DELETE FROM closure")
    connection.execute(_REBUILD)


def edges(connection: sqlite3.Connection) -> dict[int, list[int]]:
    """For each concept those that it implies itself."""
    found: dict[int, list[int]] = defaultdict(list)
    for concept, broader in connection.execute("SELECT concept, broader FROM implies ORDER BY concept, broader"):
        found[concept].append(broader)
    return found


def circle_in(broader: Mapping[int, Sequence[int]]) -> list[int] | None:
    """A path from a concept back to itself, or None."""
    done: set[int] = set()
    for start in broader:
        path: list[int] = []
        on_path: set[int] = set()
        waiting = [(start, False)]
        while waiting:
            concept, leaving = waiting.pop()
            if leaving:
                done.add(concept)
                on_path.discard(path.pop())
            elif concept in on_path:
                return [*path[path.index(concept) :], concept]
            elif concept not in done:
                path.append(concept)
                on_path.add(concept)
                waiting.append((concept, True))
                waiting.extend((further, False) for further in broader.get(concept, ()))
    return None


def path_between(broader: Mapping[int, Sequence[int]], start: int, end: int) -> list[int] | None:
    """The shortest path from a concept to a broader one, both named; None if there is none."""
    came_from = {start: start}
    level = [start]
    while level and end not in came_from:
        following = []
        for concept in level:
            for further in broader.get(concept, ()):
                if further not in came_from:
                    came_from[further] = concept
                    following.append(further)
        level = following
    if end not in came_from:
        return None
    path = [end]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def _keys(connection: sqlite3.Connection, concepts: Sequence[int]) -> list[str]:
    return [connection.execute("SELECT key FROM concept WHERE id = ?", (c,)).fetchone()[0] for c in concepts]
