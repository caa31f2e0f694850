"""What a node is asked before it takes part."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.cluster.check import check, keep_model, model_files, storage_trouble, versions
from engine.cluster.messages import StorageRoot, Work
from engine.config import RunConfig
from engine.model.folder import open_model
from tests.support.pipelines import SHAPE


@pytest.fixture
def work(tmp_path) -> Work:
    root = tmp_path / "pictures"
    root.mkdir()
    (root / "a.png").write_bytes(b"a")
    return Work("run", StorageRoot(str(root), 5.0), SHAPE, RunConfig())


def test_a_node_that_is_like_this_machine_takes_part(work, tiny_model) -> None:
    files = model_files(open_model(tiny_model), "fp32")
    checked = check(versions(), work, files)
    assert (checked.troubles, checked.warnings, checked.model) == ((), (), tiny_model.absolute())


def test_another_engine_or_other_decoders_are_said(work) -> None:
    here = versions()
    (trouble,) = check(replace(here, engine="9.9"), work, None).troubles
    assert f"the engine there is {here.engine}" in trouble and "not 9.9" in trouble and "install the same" in trouble
    assert check(replace(here, source="0" * 64), work, None).troubles
    checked = check(replace(here, packages={**here.packages, "simplejpeg": "0.1"}), work, None)
    assert not checked.troubles and "simplejpeg is" in checked.warnings[0] and "not 0.1" in checked.warnings[0]


def test_a_storage_that_is_not_there_empty_or_silent_is_said_with_the_cure(work, tmp_path) -> None:
    cure = "mount it there as it is mounted here"
    (missing,) = storage_trouble(replace(work, storage=StorageRoot(str(tmp_path / "none"), 5.0)))
    assert "none is not a folder" in missing and cure in missing
    (tmp_path / "empty").mkdir()
    (empty,) = storage_trouble(replace(work, storage=StorageRoot(str(tmp_path / "empty"), 5.0)))
    assert "is empty" in empty and cure in empty

    def hangs():
        time.sleep(5)
        raise AssertionError

    (silent,) = storage_trouble(replace(work, storage=hangs), patience_s=0.05)
    assert "no answer there within 0.05 s" in silent


def test_a_model_that_is_not_there_or_another_is_sent_and_kept(work, tiny_model, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("engine.cluster.check.cache_folder", lambda: tmp_path / "cache")
    files = model_files(open_model(tiny_model), "fp32")
    contents = [np.frombuffer((tiny_model / name).read_bytes(), np.uint8) for name in files.sha256]
    away = replace(files, folder=tmp_path / "away")
    assert check(versions(), work, away).model is None
    (tmp_path / "away").mkdir()
    for name in files.sha256:  # a folder of another model at the same place
        (tmp_path / "away" / name).write_bytes(b"another")
    assert check(versions(), work, away).model is None
    kept = keep_model(away, *contents)
    assert kept.is_relative_to(tmp_path / "cache") and open_model(kept).tags == open_model(tiny_model).tags
    assert check(versions(), work, away).model == kept
    with pytest.raises(OSError, match="not what was sent"):
        keep_model(away, *contents[:-1], contents[-1][:-1])
    assert isinstance(kept, Path)


def test_the_token_is_in_no_text_of_what_travels() -> None:
    assert "secret" not in repr(StorageRoot("https://host/x", 1.0, None, "secret", "https://host/segment"))
