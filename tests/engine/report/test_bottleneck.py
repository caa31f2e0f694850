"""The bottleneck and the advice, from meters alone."""

import pytest

from engine.flow.channels import Meter
from engine.report.bottleneck import advice, find_bottleneck, utilisation


def meters(**busy: tuple[int, float]) -> list[Meter]:
    """Stages with their threads and the share of ten seconds that these were busy."""
    made = []
    for name in ("source", "read", "decode", "infer", "record", "deliver"):
        threads, share = busy.get(name, (1, 0.01))
        meter = Meter(name)
        meter.threads, meter.of_sink = threads, name == "deliver"
        meter.add(busy=share * threads * 10)
        made.append(meter)
    return made


def test_decoding_limits() -> None:
    found = advice(meters(decode=(2, 0.98), infer=(1, 0.6)), 10, "cuda", usable_cores=4)
    assert found == "decoding limits: 2 threads busy 98%, session idle 40%: --decode-threads 4"


def test_no_more_threads_than_cores_are_asked_for() -> None:
    found = advice(meters(decode=(4, 0.98), infer=(1, 0.6)), 10, "cuda", usable_cores=4)
    assert found.endswith("every core decodes, only more cores would help")


@pytest.mark.parametrize(
    ("busy", "expected"),
    [
        ({"read": (8, 0.95)}, "reading limits: 8 threads busy 95%, session idle 99%: leave --read-threads out"),
        ({"source": (1, 0.7)}, "listing the catalogue limits: 1 thread busy 70%, session idle 99%: a larger"),
        ({"record": (1, 0.7)}, "the ledger limits: 1 thread busy 70%, session idle 99%: --state"),
        ({"deliver": (0, 0.0), "infer": (1, 0.97)}, "the model limits: session busy 97%: as it should"),
        (
            {},
            "too short to tell what limits it: starting and ending took most of the time, and even "
            "listing the catalogue was busy for only 1% of it",
        ),
    ],
)
def test_each_stage_has_its_cure(busy, expected) -> None:
    assert advice(meters(**busy), 10, "cpu").startswith(expected)


def test_a_delivery_that_keeps_up_does_not_limit() -> None:
    busy = meters(infer=(1, 0.95), deliver=(1, 1.0))
    assert find_bottleneck(busy, 10).name == "infer"
    behind = meters(infer=(1, 0.5), deliver=(1, 1.0))
    assert find_bottleneck(behind, 10).name == "deliver"


@pytest.mark.parametrize(("threads", "who"), [(0, ""), (2, "2 threads ")])
def test_any_sink_may_be_the_bottleneck_but_not_while_it_keeps_up(threads: int, who: str) -> None:
    files = Meter("files")
    files.threads, files.of_sink = threads, True
    files.add(busy=10.0 * max(1, threads))
    assert find_bottleneck([*meters(infer=(1, 0.95)), files], 10).name == "infer"
    expected = f"the sink files limits: {who}busy 100%, session idle 50%: only the place where its results go can"
    assert advice([*meters(infer=(1, 0.5)), files], 10, "cpu").startswith(expected)


def test_a_sink_that_is_hardly_busy_is_named_too() -> None:
    files = Meter("files")
    files.of_sink = True
    files.add(busy=3.0)
    assert "even the sink files was busy for only 30%" in advice([*meters(), files], 10, "cpu")


def test_the_queue_before_a_stage_is_averaged() -> None:
    meter, depths = Meter("decode"), iter([2, 4, 0])
    assert meter.queued == 0
    meter.depth = lambda: next(depths)
    for _ in range(3):
        meter.look()
    assert meter.queued == 2


@pytest.mark.parametrize("adapts", [True, False])
def test_no_more_readers_after_trouble(adapts: bool) -> None:
    stages = meters(read=(8, 0.95))
    stages[1].adapts, stages[1].setbacks = adapts, 3
    found = advice(stages, 10, "cpu")
    assert "3 times; reading more files at once would make that worse" in found and "--read-threads" not in found


def test_readers_that_adapt_are_not_to_be_set() -> None:
    stages = meters(read=(8, 0.95))
    stages[1].adapts = True
    assert "--read-threads" not in advice(stages, 10, "cpu")


def test_what_threads_could_do_follows_how_many_there_were() -> None:
    meter = Meter("read")
    for meter.threads in (8, 16, 24):
        meter.look()
    meter.add(busy=160)
    assert utilisation(meter, 10) == 1.0


@pytest.mark.parametrize(
    ("busy", "cure"),
    [
        ({"decode": (6, 0.95)}, "more CPUs in the cluster"),
        ({"infer": (3, 0.95)}, "more sessions in the cluster"),
        ({"read": (24, 0.95)}, "more nodes would not help"),
        ({"record": (1, 0.95)}, "--state on a faster local disk"),  # this is where it was
    ],
)
def test_in_a_cluster_the_cure_is_more_of_what_limits_it(busy, cure: str) -> None:
    found = advice(meters(**busy), 10, "cuda", usable_cores=4, cluster=True)
    assert cure in found and "--decode-threads" not in found and "--read-threads" not in found
