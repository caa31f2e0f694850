"""What this process is told about its machine."""

import subprocess
import sys

from engine.machine import cores, peak_rss_mb


def test_the_peak_is_this_process_own_and_not_its_parents() -> None:
    """Linux hands the parent's peak on through fork and exec; measured so, a small child looks as large as we are."""
    ours = bytearray(400_000_000)
    ours[::4096] = bytes(len(ours[::4096])).replace(b"\0", b"\1")
    command = [sys.executable, "-c", "from engine.machine import peak_rss_mb; print(peak_rss_mb())"]
    child = float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert peak_rss_mb() > 400
    assert child < 200


def test_there_is_a_core() -> None:
    assert cores() >= 1
