"""The command line of `engine convert`."""

from pathlib import Path

import pytest

from convert.cli import main


def test_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--precision", "fp8", "a", "b"], ["a", "b", "--unknown"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err
    assert main(["--help"]) == 0


def test_mistakes_that_are_told_before_anything_is_read(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_model), str(tmp_path / "m")]) == 1
    assert (
        capsys.readouterr().err == f"error: {tiny_model} is a model folder already: give it to `engine run --model`.\n"
    )
    assert main([str(tmp_path / "a.onnx"), str(tmp_path / "m"), "--tags", "nosuch.txt"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: there is no file nosuch.txt: --tags names the list") and said.count("\n") == 1
    assert main([str(tmp_path), str(tmp_path / "m"), "--threshold", "0.4"]) == 2
    assert "--threshold" in (said := capsys.readouterr().err) and "--verify" in said
    assert not (tmp_path / "m").exists()
