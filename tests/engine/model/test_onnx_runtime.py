"""Importing onnxruntime: exactly one of its distributions."""

import json
from pathlib import Path

import onnxruntime
import pytest

from engine.errors import SessionError
from engine.model import onnx_runtime
from engine.model.onnx_runtime import import_onnxruntime


def test_two_distributions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_runtime, "_owns_package", lambda name: name in ("onnxruntime", "onnxruntime-gpu"))
    with pytest.raises(SessionError, match=r"`pip uninstall -y onnxruntime onnxruntime-gpu`, then `pip install "):
        import_onnxruntime()


def test_a_distribution_without_the_package_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an uninstalled or namesake distribution leaves behind is its metadata alone."""
    left = tmp_path / "onnxruntime_directml-1.0.dist-info"
    left.mkdir()
    (left / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: onnxruntime-directml\nVersion: 1.0\n", encoding="utf-8"
    )
    (left / "RECORD").write_text("onnxruntime_directml-1.0.dist-info/METADATA,,\n", encoding="utf-8")
    before = onnx_runtime.installed()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert onnx_runtime.installed() == before
    (left / "RECORD").write_text("onnxruntime/__init__.py,,\n", encoding="utf-8")
    assert onnx_runtime.installed() == [*before, "onnxruntime-directml"]


def test_the_runtime_that_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert import_onnxruntime() is onnxruntime
    assert json.dumps(capfd.readouterr()) == '["", ""]'
