"""The loop of bench.original and bench.one_by_one: the catalogue page by page, picture by picture, a POST for each tag.

It imports httpx alone, because the interpreter that runs the original may lack the engine's packages.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx

PAGE = 100
Tags = Iterable[tuple[str, str]]


def options(description: str, what: str) -> argparse.Namespace:
    """The flags of such a script; `what` names its first argument, a folder."""
    flags = argparse.ArgumentParser(description=description)
    flags.add_argument(what, type=Path)
    flags.add_argument("--api", required=True, help="address of the server")
    flags.add_argument("--storage", type=Path, required=True)
    flags.add_argument("--threshold", type=float, default=0.5)
    flags.add_argument("--device", default="auto")
    return flags.parse_args()


def tag_all(given: argparse.Namespace, evaluate: Callable[[Path], Tags]) -> None:
    """Tag the whole catalogue, one request a tag; `evaluate` gives a file's tags and similarities."""
    with httpx.Client(timeout=60, headers={"Authorization": "Bearer bench"}) as http:
        for number, key in _media(http, given.api + "/segment"):
            for tag, similarity in evaluate(given.storage / key):
                record = {"mediaId": number, "tagKey": tag, "similarity": similarity}
                http.post(given.api + "/recognition", json=record).raise_for_status()


def _media(http: httpx.Client, url: str) -> Iterator[tuple[int, str]]:
    start = 1
    while page := http.post(url, json={"segmentStart": start, "limit": PAGE, "storageStatus": "ALL_DL"}).json()["data"]:
        for item in page:
            yield item["id"], item["storageUrl"]
        start = page[-1]["id"] + 1
