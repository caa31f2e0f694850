"""The made-up full-size project, narrow and short: convert reads it, in both precisions, and its scores are alive."""

import json
from pathlib import Path

import numpy as np

from bench.full_model import build, pictures, write_h5, write_project
from convert.cli import main
from tests.convert.projects import scores


def test_a_project_made_without_tensorflow_converts(tmp_path: Path) -> None:
    model = write_project(tmp_path / "project", size=64, tags=40)
    write_h5(model, *build(64, 40, filters=(16, 32), repeats=(1, 2)))
    assert main([str(tmp_path / "project"), str(tmp_path / "out"), "--precision", "fp32", "--precision", "fp16"]) == 0
    manifest = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))
    assert manifest["categories"] == ["General", "Character", "System"]
    given = pictures(64, 3, seed=0)
    fp32, fp16 = (scores(tmp_path / "out" / f"model.{p}.onnx", given) for p in ("fp32", "fp16"))
    assert fp32.shape == (3, 40)
    assert 0 < fp32.min() < fp32.max() < 1
    assert fp32.std() > 0.005  # pictures and tags do differ
    assert np.abs(fp32 - fp16).max() < 0.01
