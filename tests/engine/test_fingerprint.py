"""What a ledger is made with, and what every run on it must be like."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import LedgerError
from engine.fingerprint import Fixed, fingerprint, hold
from engine.ledger.ledger import Ledger
from engine.model.folder import Model, open_model


@pytest.fixture
def model(tiny_model: Path) -> Model:
    return open_model(tiny_model)


def wanted(model: Model, threshold: str = "0.5") -> dict[str, str]:
    return fingerprint(model, Fixed(model.precision(None), threshold))


def test_other_tags_are_another_model(model: Model, tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        hold(ledger, wanted(model))
        hold(ledger, wanted(model))
        with pytest.raises(LedgerError, match=r"made with tags [0-9a-f]{12}…, not 111111111111…: .*--state.*retag"):
            hold(ledger, wanted(replace(model, tags_sha256="1" * 64)))


def test_other_rows_are_another_preprocessing(model: Model, tmp_path: Path) -> None:
    old = replace(model, preprocessing=replace(model.preprocessing, dtype="uint8"))
    assert wanted(old)["preprocessing"] == "deepdanbooru 64x64"  # as ledgers have it that were made before uint16
    with Ledger(tmp_path / "ledger.db") as ledger:
        hold(ledger, wanted(old))
        with pytest.raises(LedgerError, match="preprocessing deepdanbooru 64x64, not deepdanbooru 64x64 uint16"):
            hold(ledger, wanted(model))


def test_a_ledger_that_knows_no_tags_learns_them(model: Model, tmp_path: Path) -> None:
    before = {key: value for key, value in wanted(model).items() if key != "tags"}
    with Ledger(tmp_path / "ledger.db") as ledger:
        hold(ledger, before)
        with pytest.raises(LedgerError, match="threshold"):
            hold(ledger, wanted(model, "0.7"))
        assert ledger.meta("tags") is None
        hold(ledger, wanted(model))
        assert ledger.meta("tags") == model.tags_sha256
