"""`engine bench tags`: how fast a large dictionary of tags answers, and what it takes of the machine.

The dictionary is made up of as many names as communities have: a key of a few words for each tag, and names in Chinese
and kana for some. It is asked as somebody types, in a process of its own.
"""

import csv
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.new_process import in_new_process
from service.dictionary import Dictionary

TARGETS = {"p95_ms": 50.0, "ready_s": 1.5, "peak_mb": 150.0}
_NAMES_OF_A_TAG = 2.75
"""As it is drawn below: a key, an old key, Chinese names for half of the tags, kana for a quarter."""
_HAN = "黑白长短发双马尾眼睛裙子水手服蓝红绿色少女猫耳狐狸巴笑容哭泣手套袜帽鞋剑枪花樱雪夜晚天空海滩校园教室图书馆"
_KANA = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモラリルレロ"
_SYLLABLES = (
    "ka",
    "ki",
    "ku",
    "shi",
    "ha",
    "no",
    "ri",
    "to",
    "mi",
    "ra",
    "hair",
    "blue",
    "cat",
    "ear",
    "sky",
    "hat",
    "bow",
)
_MB = 1e6


def measure(names: int, times: int, say: Callable[[str], None]) -> dict[str, Any]:
    """The median and the 95th percentile of a suggestion in ms, the start in seconds, sizes in MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tags.db"
        say(f"making a dictionary of some {names:,} names")
        imported = _fill(path, Path(folder) / "list.csv", int(names / _NAMES_OF_A_TAG))
        say("suggesting")
        found: dict[str, Any] = in_new_process("bench.tags:suggestions", path=str(path), times=times)
        found["file_mb"] = round(path.stat().st_size / _MB, 1)
    return {"times": times, "targets": TARGETS, "import_s": round(imported, 1), **found}


def suggestions(path: str, times: int) -> dict[str, Any]:
    """In a process that does nothing else: what the start takes, and suggestions for what somebody has typed."""
    began = time.perf_counter()
    with Dictionary.open(Path(path)) as tags:
        tags.suggest("long")
        ready = time.perf_counter() - began
        texts = [name.text for concept in tags.concepts(limit=2_000) for name in concept.names]
        kinds: dict[str, Callable[[str], str]] = {
            "the beginning of a name": lambda text: text[: chance.randint(1, 6)],
            "a word in the middle": lambda text: text.replace("_", " ").split()[-1],
            "one letter": lambda text: text[:1],
            "a typo": lambda text: text[:3] + "x" + text[4:],
            "nonsense": lambda text: "q".join(text[::-1]),
        }
        chance = random.Random(1)  # noqa: S311 - no secret
        rows = {}
        for name, typed in kinds.items():
            spent = []
            for text in chance.choices(texts, k=times):
                query = typed(text)
                asked = time.perf_counter()
                tags.suggest(query, "zh-Hans")
                spent.append(1000 * (time.perf_counter() - asked))
            rows[name] = {f"{k}_ms": round(float(np.percentile(spent, q)), 1) for k, q in (("p50", 50), ("p95", 95))}
        count = tags.size()
    memory = psutil.Process().memory_info()
    peak = getattr(memory, "peak_wset", None) or _peak() or memory.rss
    return {"names": count, "ready_s": round(ready, 2), "peak_mb": round(peak / _MB), "rows": rows}


def _peak() -> int:
    """The most memory that this process had, in bytes; 0 where the system does not say.

    Not `getrusage`: on Linux a process inherits that figure from the one that started it.
    """
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _fill(path: Path, listed: Path, tags: int) -> float:
    """A dictionary of made-up tags; the seconds that the import of their keys took."""
    chance = random.Random(0)  # noqa: S311 - no secret
    keys = [f"{'_'.join(_word(chance) for _ in range(chance.randint(1, 3)))}_{_word(chance)}{n}" for n in range(tags)]
    with listed.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([key, 0, tags - n, f"{_word(chance)}_{key}"] for n, key in enumerate(keys))
    translated = listed.with_name("names.csv")
    with translated.open("w", encoding="utf-8", newline="") as out:
        for n, key in enumerate(keys):
            names = [_drawn(chance, _HAN)] * (n % 2) + [_drawn(chance, _KANA)] * (n % 4 == 0)
            if names:
                csv.writer(out).writerow([key, "|".join(names)])
    with Dictionary.open_empty(path) as made:
        began = time.perf_counter()
        made.load_files([listed], "bench")
        spent = time.perf_counter() - began
        made.load_files([translated], "bench")
    return spent


def _word(chance: random.Random) -> str:
    return "".join(chance.choices(_SYLLABLES, k=chance.randint(1, 3)))


def _drawn(chance: random.Random, letters: str) -> str:
    return "".join(chance.choices(letters, k=chance.randint(2, 6)))
