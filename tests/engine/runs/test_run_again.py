"""`engine run` again: another service, another model, retag, records that the API gave up on."""

import json
import os

import pytest

from engine.errors import EngineError
from engine.ledger.ledger import Ledger
from engine.ledger.schema import LedgerView
from engine.stages.failure_budget import FailureBudget
from engine.types import Media, Outcome
from tests.engine.runs.test_run import catalogue, pictures
from tests.support.media_rules import Reply
from tests.support.media_server import BULK, MediaServer
from tests.support.runs import ENGINE, command, run

__all__ = ["pictures"]  # the fixture


def test_records_that_the_api_refuses_are_seen(pictures, tiny_model, tmp_path) -> None:
    def refuse_all(request):
        if request.path != BULK:
            return None
        rejected = [{"mediaId": r["mediaId"], "tagKey": r["tagKey"], "reason": "unknown tag"} for r in request.records]
        return Reply(body=json.dumps({"rejected": rejected[:-1]}).encode())

    with MediaServer(catalogue(pictures)[:4], refuse_all) as server:
        result = run(command(server, tiny_model, pictures, tmp_path / "s.db", "--json"))
    assert result.returncode == 3
    summary = json.loads(result.stdout)
    assert summary["refused"] > 50 and "refused" in result.stderr
    assert summary["rejected"] == 3  # all of their records; the fourth kept one
    shown = run([*ENGINE, "status", "--state", str(tmp_path / "s.db")]).stdout
    assert "unknown tag" in shown and "refused" in shown


def test_a_ledger_belongs_to_one_service(pictures, tiny_model, tmp_path) -> None:
    media = catalogue(pictures)[:4]
    with MediaServer(media) as first, MediaServer(media) as second:
        assert run(command(first, tiny_model, pictures, tmp_path / "s.db")).returncode == 0
        other = command(second, tiny_model, pictures, tmp_path / "s.db")
        refused = run(other)
        assert refused.returncode == 1 and "--state" in refused.stderr and second.store == {}
        assert run([*other, "--moved"]).returncode == 0
        assert run(other).returncode == 0  # once is enough
        assert second.store == {}  # the same service: its media are done


@pytest.mark.parametrize("threshold", ["nonsense", "", "nan", "7"])
def test_a_state_file_that_holds_nonsense_is_one_sentence(pictures, tiny_model, tmp_path, threshold) -> None:
    with MediaServer(catalogue(pictures)[:2]) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db")
        with Ledger(tmp_path / "s.db") as ledger:
            ledger.set_meta({"threshold": threshold})
        result = run(arguments)
    assert result.returncode == 1 and "is damaged" in result.stderr and repr(threshold) in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="a file that is open cannot be deleted there")
def test_a_state_file_that_is_deleted_during_a_run_is_said_at_its_end(pictures, tiny_model, tmp_path) -> None:
    state = tmp_path / "s.db"

    def delete(request):
        state.unlink(missing_ok=True)

    with MediaServer(catalogue(pictures)[:4], delete) as server:
        result = run(command(server, tiny_model, pictures, state))
    assert result.returncode == 0
    assert f"warning: the state file {state} was deleted or replaced during the run" in result.stderr


def test_retag_does_all_media_again_under_the_new_settings(pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)[:4]) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db", "--keep-scores", "0")
        assert run(arguments).returncode == 0
        before = len(server.store)
        again = [*arguments, "--threshold", "0.3"]
        again[again.index("run")] = "retag"
        result = run(again)
        assert result.returncode == 0 and "tagged again" in result.stderr
        assert len(server.store) > before
        assert run([*arguments, "--threshold", "0.3"]).returncode == 0
        assert run(arguments).returncode == 0  # what is left open is what the ledger says


def test_a_retag_that_cannot_work_forgets_nothing(pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)[:4]) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db")
        assert run(arguments).returncode == 0
        again = [*arguments, "--precision", "int8"]  # which this model folder does not hold
        again[again.index("run")] = "retag"
        assert run(again).returncode == 1
        with LedgerView(tmp_path / "s.db") as view:
            assert view.counts()[Outcome.DONE] == 4


def test_every_setting_can_come_from_the_environment(pictures, tiny_model, tmp_path) -> None:
    with MediaServer(catalogue(pictures)[:4]) as server:
        arguments = command(server, tiny_model, pictures, tmp_path / "s.db")
        result = run(arguments, ENGINE_JSON_OUTPUT="1", ENGINE_OK_CODES='["200"]', JSON="no setting of ours")
        assert json.loads(result.stdout)["images"] == 4
        broken = run(arguments, ENGINE_OK_CODES="0,200")
        assert broken.returncode == 1 and "ENGINE_OK_CODES" in broken.stderr


def test_retry_failed_bears_that_all_of_them_fail_again(tiny_model, tmp_path) -> None:
    names = [f"{i}.jpg" for i in range(120)]
    for name in names:
        (tmp_path / name).write_bytes(b"no picture")
    with MediaServer(enumerate(names)) as server:
        arguments = command(server, tiny_model, tmp_path, tmp_path / "s.db", "--json")
        first = run([*arguments, "--max-failures", "1000"])
        assert first.returncode == 3 and json.loads(first.stdout)["failed"] == 120
        again = run([*arguments, "--retry-failed"])
        assert again.returncode == 3 and json.loads(again.stdout)["failed"] == 120


def test_the_failure_budget_counts_shares_of_what_was_read() -> None:
    medium = Media(1, "a.jpg", 1)
    budget = FailureBudget("20%")
    for _ in range(1000):
        budget.passed()
    for _ in range(249):
        budget.failed(medium, "broken")
    with pytest.raises(EngineError, match="20%"):
        for _ in range(10):
            budget.failed(medium, "broken")


def test_a_count_is_a_count() -> None:
    budget = FailureBudget("2")
    budget.failed(Media(1, "a.jpg", 1), "broken")
    budget.failed(Media(2, "b.jpg", 2), "broken")
    with pytest.raises(EngineError, match=r"c\.jpg: broken"):
        budget.failed(Media(3, "c.jpg", 3), "broken")
