"""The lines at the end of a run."""

from dataclasses import replace

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


def summary(tally: Tally, seconds: float = 10.0, *, read: float = 0.9, follows: bool = False, **ledger: int) -> str:
    """The lines of a run whose readers were busy for this share of it, and whose source was all the time."""
    meters = [Meter(name) for name in ("source", "read", "decode", "infer", "record")]
    for meter, share in zip(meters, (1.0 if follows else 0.1, read, 0.1, 0.1, 0.1), strict=True):
        meter.threads = 1
        meter.add(busy=share * seconds)
    counts = dict.fromkeys(Outcome, 0) | {Outcome(name): count for name, count in ledger.items()}
    lines = Summary(
        tally=tally, meters=meters, seconds=seconds, device="cpu", precision="fp32", batch_size=8,
        peak_rss_mb=1.0, peak_vram_mb=None, peak_vram_of=None, ledger=counts, follows=follows,
    ).lines()  # fmt: skip
    return "\n".join(lines)


def test_one_is_one() -> None:
    lines = summary(Tally(images=1, done=1, records=1, requests=1), outbox=1)
    assert "1 image in 10 s" in lines and "1 record in 1 request; 1 medium waits in the outbox" in lines
    lines = summary(Tally(images=1200, done=2, records=0, requests=2), outbox=2)
    assert "1,200 images in 10 s" in lines and "0 records in 2 requests; 2 media wait in the outbox" in lines


def test_a_single_medium_that_is_known_is_told_as_one() -> None:
    assert summary(Tally(), done=1) == (
        "nothing to do: the only medium of the catalogue is done, failed, rejected or skipped"
    )
    assert summary(Tally(), done=2).startswith("nothing to do: each of the 2 media of the catalogue is done")


def test_a_run_that_says_nothing_of_a_long_one_gives_no_advice() -> None:
    tally = Tally(images=5, done=5)
    assert "reading limits" in summary(tally)
    assert "limits" not in summary(tally, seconds=1.9)
    assert "limits" not in summary(Tally(failed=3))  # nothing went through the model


def test_waiting_for_new_media_is_not_what_limits() -> None:
    tally = Tally(images=5, done=5)
    assert "reading limits" in summary(tally, follows=True)
    idle = summary(tally, read=0.2, follows=True)
    assert "limits" not in idle and "too short" not in idle


def test_a_cluster_is_told_with_what_it_lost() -> None:
    figures = {"nodes": 2, "sessions": 1, "bytes_of_rows": 50_000_000, "bytes_of_rows_between_nodes": 2_000_000}
    made = Summary(
        tally=Tally(images=5), meters=[Meter("read")], seconds=10.0, device="cpu", precision="fp32", batch_size=8,
        peak_rss_mb=1.0, peak_vram_mb=None, peak_vram_of=None, ledger=dict.fromkeys(Outcome, 0), cluster=figures,
    )  # fmt: skip
    assert "on 2 nodes with 1 session; 2 of 50 MB of rows went from node to node" in made.lines()
    lost = replace(made, cluster=figures | {"lost_nodes": 1, "lost_workers": 3})
    (line,) = [line for line in lost.lines() if line.startswith("on 2 nodes")]
    assert line.endswith("; lost and made up for: 1 node, 3 workers")
    assert lost.as_json()["cluster"]["lost_workers"] == 3 and "cluster" not in replace(made, cluster=None).as_json()
