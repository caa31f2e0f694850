"""The lines at the end of a run."""

from engine.flow.channels import Meter
from engine.report.summary import Summary, Tally
from engine.types import Outcome


def test_the_number_of_readers_is_told() -> None:
    meters = [Meter(name) for name in ("source", "read", "decode", "infer", "record")]
    reading = meters[1]
    for reading.threads in (8, 24):
        reading.look()
    reading.adapts = True
    reading.add(busy=80.0)
    summary = Summary(
        tally=Tally(images=5), meters=meters, seconds=10.0, device="cpu", precision="fp32", batch_size=8,
        peak_rss_mb=1.0, peak_vram_mb=None, peak_vram_of=None, ledger=dict.fromkeys(Outcome, 0),
    )  # fmt: skip
    assert any("read 50% (24 at once)" in line for line in summary.lines())
    assert summary.as_json()["stages"]["read"]["threads"] == 24
