"""Shared by the converter's tests: projects to convert, pictures, and a run that must be refused."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convert.cli import main
from demo.render import render
from tests.convert.projects import MODELS, make_project


@pytest.fixture(scope="module")
def no_child_process() -> Iterator[None]:
    """Leaves out the process that looks at a Keras file first: it takes a second each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convert.keras.open._check", lambda path: None)
        yield


@pytest.fixture(autouse=True)
def no_tf2onnx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick tests see the same whether TensorFlow is installed or not."""
    if not request.node.get_closest_marker("full"):
        monkeypatch.setattr("convert.onnx.fallback.has_tf2onnx", lambda: False)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 40 rendered pictures and three broken ones."""
    folder = tmp_path_factory.mktemp("pictures")
    render(folder, 40, seed=9002, broken=3)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project that can be converted."""
    return make_project(tmp_path / "project", MODELS / "tf2.7-resnet.h5")


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs convert, which must refuse in one sentence and leave nothing behind; gives what it said."""

    def run(project: Path, *options: str) -> str:
        assert main([str(project), str(tmp_path / "out" / "model"), *options]) == 1
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        assert shown.out == ""
        assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
        return shown.err

    return run
