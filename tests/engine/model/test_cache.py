"""The cache of optimised models, with real models and real damage."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.errors import ModelError
from engine.model import cache as cache_module
from engine.model.cache import ModelCache
from engine.model.devices.cpu import cpu_options
from engine.model.folder import Precision
from engine.model.runners import ArrayRunner

PIXELS = np.random.default_rng(0).integers(0, 65281, (5, 64, 64, 3), np.uint16)


def options() -> onnxruntime.SessionOptions:
    return cpu_options(onnxruntime, 1)


def kept(folder: Path, **settings: Any) -> ModelCache:
    """A cache that keeps small models too."""
    return ModelCache(folder, smallest=0, **settings)


def loaded(precision: Precision, cache: Path) -> onnxruntime.InferenceSession:
    return kept(cache).load(onnxruntime, precision, options)


def scores(session: onnxruntime.InferenceSession) -> np.ndarray:
    return ArrayRunner(session, onnxruntime.RunOptions())(PIXELS)


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "models").iterdir())


def test_the_second_start_comes_from_the_cache(fp32: Precision, tmp_path: Path) -> None:
    first = scores(loaded(fp32, tmp_path))
    [entry] = entries(tmp_path)
    assert (entry / "weights.bin").stat().st_size > 0.9 * fp32.file.stat().st_size
    second = loaded(fp32, tmp_path)
    assert second._model_path == str(entry / "model.onnx")
    np.testing.assert_array_equal(scores(second), first)


def test_a_small_model_is_not_kept(fp32: Precision, tmp_path: Path) -> None:
    ModelCache(tmp_path / "cache").load(onnxruntime, fp32, options)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["model.onnx", "weights.bin", "entry.json"])
@pytest.mark.parametrize("damage", ["cut", "overwritten", "gone"])
def test_a_damaged_entry_is_made_again(fp32: Precision, tmp_path: Path, name: str, damage: str) -> None:
    expected = scores(loaded(fp32, tmp_path))
    file = entries(tmp_path)[0] / name
    size = file.stat().st_size
    if damage == "cut":
        os.truncate(file, size // 2)
    elif damage == "overwritten":
        file.write_bytes(b"\0" * size)
        os.utime(file, ns=(1, 1))
    else:
        file.unlink()
    np.testing.assert_array_equal(scores(loaded(fp32, tmp_path)), expected)
    assert file.stat().st_size == size
    assert len(entries(tmp_path)) == 1


def test_an_entry_that_does_not_load_is_made_again(fp32: Precision, tmp_path: Path) -> None:
    expected = scores(loaded(fp32, tmp_path))
    [entry] = entries(tmp_path)
    (entry / "model.onnx").write_bytes(b"no model")
    cache_module._Entry(entry).seal(fp32.file)  # looks whole
    np.testing.assert_array_equal(scores(loaded(fp32, tmp_path)), expected)
    assert (entry / "model.onnx").stat().st_size > 100


def test_without_a_place_to_write_it_works_all_the_same(fp32: Precision, tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("", encoding="utf-8")
    assert np.isfinite(scores(loaded(fp32, blocked))).all()


def test_a_changed_model_file_is_refused_although_it_is_cached(fp32: Precision, tmp_path: Path) -> None:
    loaded(fp32, tmp_path)
    with fp32.file.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"x")
    with pytest.raises(ModelError, match="is not the one"):
        loaded(fp32, tmp_path)


def test_a_model_that_was_only_touched_is_hashed_once(fp32: Precision, tmp_path: Path) -> None:
    """What was hashed shows in a forgery: content that was changed behind the same size and time."""
    expected = scores(loaded(fp32, tmp_path))
    content = fp32.file.read_bytes()
    forged = content[:-10] + bytes([content[-10] ^ 1]) + content[-9:]
    os.utime(fp32.file, ns=(5, 5))
    fp32.file.write_bytes(forged)
    os.utime(fp32.file, ns=(5, 5))
    with pytest.raises(ModelError, match="is not the one"):  # touched: hashed
        loaded(fp32, tmp_path)
    fp32.file.write_bytes(content)
    os.utime(fp32.file, ns=(5, 5))
    loaded(fp32, tmp_path)  # hashed once more, and noted
    fp32.file.write_bytes(forged)
    os.utime(fp32.file, ns=(5, 5))
    np.testing.assert_array_equal(scores(loaded(fp32, tmp_path)), expected)  # not hashed; the entry is what runs


def test_another_runtime_or_cpu_makes_its_own_and_the_old_one_goes(fp32: Precision, tmp_path: Path) -> None:
    loaded(fp32, tmp_path)
    [old] = entries(tmp_path)
    kept(tmp_path, cpu=lambda: "another").load(onnxruntime, fp32, options)
    [new] = entries(tmp_path)
    assert new != old


def test_the_cache_keeps_a_few_models(fp32: Precision, tmp_path: Path) -> None:
    for age in range(6):
        other = tmp_path / "models" / f"{age:016}-0"
        other.mkdir(parents=True)
        os.utime(other, (1000 - age, 1000 - age))
    kept(tmp_path, kept=3).load(onnxruntime, fp32, options)
    assert len(entries(tmp_path)) == 3
    assert f"{0:016}-0" in {entry.name for entry in entries(tmp_path)}


def test_what_a_killed_process_left_goes(fp32: Precision, tmp_path: Path) -> None:
    old, new = tmp_path / "models" / ".new-1", tmp_path / "models" / ".new-2"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (1000, 1000))
    loaded(fp32, tmp_path)
    assert not old.exists() and new.exists()  # the other may be at work
