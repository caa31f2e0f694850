"""`engine run` on a catalogue, pictures and answers of somebody who means harm."""

import io
import json
import os
import struct
import sys
import zlib
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from engine.ledger.schema import LedgerView
from engine.types import Outcome
from tests.support.media_server import SEGMENT, MediaServer, Reply, always
from tests.support.runs import ENGINE, command, run

PEAK_MB = 1100
"""OpenCV takes 6 bytes a pixel while it decodes: 600 MB for one picture of the largest size, and 1,200 for two at once,
which must not be. The rest is Python, ONNX Runtime and what waits."""


def picture(path: Path, seed: int) -> None:
    chance = np.random.default_rng(seed)
    pixels = cv2.resize(chance.integers(0, 256, (4, 4, 3), np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def keys(root: Path, canary: Path) -> list[str]:
    """Ways to ask for a file outside the root; most of them name one that is there."""
    up = os.path.relpath(canary, root).replace(os.sep, "/")
    absolute, name = canary.as_posix(), canary.name
    return [
        up, "/" + up, "//" + up, "a/../" + up, "a/b/../../" + up, "./" + up, "....//" + up, "~/" + up,
        "ok.png/../" + up, "missing/../ok.png", "../root2/canary.png", "../canary.png", "a/../../canary.png",
        "..;/" + name,
        up.replace("/", "\\"), "\\" + up.replace("/", "\\"), "a\\..\\" + up, up.replace("../", "..\\"),
        up.replace("..", "%2e%2e"), up.replace("/", "%2f"), up.replace("/", "%5C"), up.replace("..", "%252e%252e"),
        up.replace("..", ".%2e"), "%2e%2e%2f" + name, "%00" + up, "‥/" + name, "．．/" + name,
        absolute, "/" + absolute, "\\\\" + absolute, absolute.replace("/", "\\"), "file://" + absolute,
        "C:" + absolute, "C:\\" + name, "c:" + name, "\\\\?\\" + absolute, "\\\\.\\" + absolute,
        "\\\\localhost\\c$\\" + name, "//localhost/" + name,
        "link-to-file.png", "link-to-folder/canary.png", "link-to-link/canary.png", "a/link-up/canary.png",
        up + "\0.png", "ok.png\0" + up, "ok.png::$DATA", "\ud800.png", "\u202egnp.exe", "\x1b[2J.png", "ｏｋ.png",
        "a" * 4000 + "/../" + up, "../" * 1300 + absolute.lstrip("/"), "x" * 4001, "/".join("d" * 2000),
        "", "/", ".", "..", "\\", "a/", "ok.png/", "CON", "aux.png", "nul", "ok.png.", "/dev/zero",
        "/proc/self/environ",
    ]  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a right there that tests do not have")
def test_no_key_reaches_a_file_outside_the_root(tiny_model, tmp_path) -> None:
    """Pictures lie outside, wherever such keys point: had one been read, its medium would have tags."""
    root = tmp_path / "storage" / "root"
    (root / "a" / "b").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "storage", tmp_path / "storage" / "root2"):
        picture(folder / "canary.png", 1)
    canary = tmp_path / "canary.png"
    picture(root / "ok.png", 2)
    (root / "link-to-file.png").symlink_to(canary)
    (root / "link-to-folder").symlink_to(tmp_path)
    (root / "link-to-link").symlink_to("link-to-folder")
    (root / "a" / "link-up").symlink_to("../../..")
    (root / "link-inside.png").symlink_to("ok.png")
    good = {1: "ok.png", 2: "/ok.png", 3: ".\\ok.png", 4: "link-inside.png"}
    bad = {100 + i: key for i, key in enumerate(keys(root, canary))}
    state = tmp_path / "s.db"
    with MediaServer({**good, **bad}.items()) as server:
        result = run(command(server, tiny_model, root, state, "--max-failures", "1000", "--quiet"))
    assert result.returncode == 3, result.stderr
    assert {int(medium) for medium, _ in server.store} == set(good)
    with LedgerView(state) as view:
        assert view.counts()[Outcome.FAILED] == len(bad)
        reasons = {number: reason for number, _, reason in view.reasons(Outcome.FAILED, 1000)}
    assert all(reasons[number] and len(reasons[number]) < 600 for number in bad)
    assert all(character.isprintable() for reason in reasons.values() for character in reason)
    status = run([*ENGINE, "status", "--state", str(state), "--reasons", "1000"])
    assert status.returncode == 0 and "\x1b[2J" not in status.stdout


ITEM = {"id": 1, "storageUrl": "ok.png"}
ANSWERS = {
    "not JSON": b"hello",
    "half": b'{"data": [{"id": 1, "storageUrl": "o',
    "nested": b"[" * 100_000,
    "null": b'{"data": null}',
    "missing": b"{}",
    "a number": b"7",
    "an object": json.dumps({"data": ITEM}).encode(),
    "items of text": b'{"data": ["ok.png"]}',
    "no id": b'{"data": [{"storageUrl": "ok.png"}]}',
    "true": b'{"data": [{"id": true}]}',
    "negative": b'{"data": [{"id": -1}]}',
    "a fraction": b'{"data": [{"id": 1.5}]}',
    "infinite": b'{"data": [{"id": Infinity}]}',
    "beyond a long": b'{"data": [{"id": 9223372036854775808}]}',
    "beyond everything": b'{"data": [{"id": ' + b"9" * 5000 + b"}]}",
    "an id of text": b'{"data": [{"id": "1; DROP TABLE media"}]}',
    "not UTF-8": b'{"data": [{"id": 1, "storageUrl": "\xff\xfe"}]}',
    "the same page for ever": json.dumps({"data": [ITEM]}).encode(),
    "empty": b"",
}


RUNS = """
import json, sys
from engine.cli import main
for arguments in json.load(sys.stdin):
    sys.argv = ["engine", *arguments]
    try:
        main()
    except SystemExit as end:
        print("exit", end.code, file=sys.stderr, flush=True)
"""


def test_no_answer_of_the_catalogue_does_more_than_end_the_run_with_a_sentence(tiny_model, tmp_path) -> None:
    """A service for each answer; the runs in one process, for its start takes longer than they do."""
    picture(tmp_path / "ok.png", 1)
    replies = {name: Reply(body=body) for name, body in ANSWERS.items()}
    replies["endless"] = Reply(body=b" " * 2**16, endless=True)
    with ExitStack() as stack:
        servers = [stack.enter_context(MediaServer([], always(reply, SEGMENT))) for reply in replies.values()]
        runs = [
            command(server, tiny_model, tmp_path, tmp_path / f"{i}.db", "--quiet") for i, server in enumerate(servers)
        ]
        result = run([sys.executable, "-c", RUNS], text=json.dumps([arguments[len(ENGINE) :] for arguments in runs]))
    *said, rest = result.stderr.split("exit 1\n")
    assert len(said) == len(replies) and rest == "", result.stderr
    for name, lines in zip(replies, said, strict=True):
        errors = [line for line in lines.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and "has a bug" not in lines and "Traceback" not in lines, (name, lines)
        assert 20 < len(errors[0]) < 700, (name, lines)


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of one colour: gigabytes of pixels in some 100 KB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    deflate = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif_bomb(width: int, height: int, frames: int) -> bytes:
    """A GIF whose one frame comes again and again: 7 GB if all were decoded."""
    file = io.BytesIO()
    Image.new("L", (width, height), 7).save(file, "GIF")
    data = file.getvalue()
    frame = 13 + 3 * 2 ** ((data[10] & 7) + 1)  # after the header and its palette
    return data[:frame] + data[frame:-1] * frames + data[-1:]


def bombs(folder: Path) -> dict[str, bool]:
    """Files, and whether they are to be tagged."""
    (folder / "30000x30000.png").write_bytes(png_bomb(30_000, 30_000))
    (folder / "just within.png").write_bytes(png_bomb(10_000, 9_990))
    (folder / "just within too.png").write_bytes(png_bomb(9_990, 10_000))
    (folder / "frames.gif").write_bytes(gif_bomb(1000, 800, 3000))
    (folder / "tall.png").write_bytes(png_bomb(8, 2_000_000))
    (folder / "cut.png").write_bytes(png_bomb(5_000, 5_000)[:1000])
    (folder / "zeros.jpg").write_bytes(b"\xff\xd8\xff" + bytes(10_000_000))
    picture(folder / "ok.png", 1)
    return {
        "30000x30000.png": False, "just within.png": True, "just within too.png": True, "frames.gif": True,
        "tall.png": False, "cut.png": False, "zeros.jpg": False, "ok.png": True,
    }  # fmt: skip


def test_bombs_are_tagged_or_refused_in_bounded_memory(tiny_model, tmp_path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    expected = bombs(folder)
    assert (folder / "30000x30000.png").stat().st_size < 200_000
    with MediaServer(enumerate(expected)) as server:
        result = run(
            command(server, tiny_model, folder, tmp_path / "s.db", "--quiet", "--json", "--decode-threads", "4")
        )
    assert result.returncode == 3, result.stderr
    summary = json.loads(result.stdout)
    tagged = {list(expected)[int(medium)] for medium, _ in server.store}
    assert tagged == {name for name, good in expected.items() if good}
    assert summary["peak_rss_mb"] < PEAK_MB, summary["peak_rss_mb"]
    with LedgerView(tmp_path / "s.db") as view:
        assert all(reason for _, _, reason in view.reasons(Outcome.FAILED))
