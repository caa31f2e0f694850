"""The loops of those that the engine is compared with: the catalogue page by page, and their tags to the API.

It imports httpx alone, because the interpreter that runs the original may lack the engine's packages.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx

PAGE = 100
Tags = Iterable[tuple[str, str]]


def options(description: str, *what: str, threshold: float | None = 0.5) -> argparse.Namespace:
    """The flags of such a script; `what` names its arguments, the last one a path."""
    flags = argparse.ArgumentParser(description=description)
    for name in what:
        flags.add_argument(name, type=Path if name == what[-1] else str)
    flags.add_argument("--api", required=True, help="address of the server")
    flags.add_argument("--storage", type=Path, required=True)
    flags.add_argument("--threshold", type=float, default=threshold)
    flags.add_argument("--device", default="auto")
    return flags.parse_args()


def tag_all(given: argparse.Namespace, evaluate: Callable[[Path], Tags]) -> None:
    """Tag the whole catalogue, one request a tag; `evaluate` gives a file's tags and similarities."""
    with httpx.Client(timeout=60, headers={"Authorization": "Bearer bench"}) as http:
        for number, key in media(http, given.api + "/segment"):
            for tag, similarity in evaluate(given.storage / key):
                record = {"mediaId": number, "tagKey": tag, "similarity": similarity}
                http.post(given.api + "/recognition", json=record).raise_for_status()


def tag_in_bulk(given: argparse.Namespace, evaluate: Callable[[Iterator[Path]], Iterable[list[Tags]]]) -> None:
    """Tag the whole catalogue, one request for as many pictures as `evaluate` gives the tags of at once, in order."""
    with httpx.Client(timeout=60, headers={"Authorization": "Bearer bench"}) as http:
        found = list(media(http, given.api + "/segment"))
        numbers = iter(number for number, _ in found)
        for pictures in evaluate(given.storage / key for _, key in found):
            records = [
                {"mediaId": number, "tagKey": tag, "similarity": similarity}
                for tags, number in zip(pictures, numbers, strict=False)
                for tag, similarity in tags
            ]
            body = json.dumps(records).encode()
            http.post(given.api + "/recognition/bulk", content=body).raise_for_status()


def media(http: httpx.Client, url: str) -> Iterator[tuple[int, str]]:
    start = 1
    while page := http.post(url, json={"segmentStart": start, "limit": PAGE, "storageStatus": "ALL_DL"}).json()["data"]:
        for item in page:
            yield item["id"], item["storageUrl"]
        start = page[-1]["id"] + 1
