"""The command line of `engine convert`."""

import pytest

from convert.cli import main


def test_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--precision", "fp8", "a", "b"], ["a", "b", "--unknown"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err
    assert main(["--help"]) == 0
