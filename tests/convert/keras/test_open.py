"""The process that looks at a file first: HDF5 may hang or crash on a damaged one."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert.cli import main
from tests.convert.projects import MODELS, make_project, model_of


def test_a_file_on_which_hdf5_never_returns(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "project", MODELS / "tf2.1-sequential.h5", size=(37, 50))
    content = bytearray(model_of(project).read_bytes())
    content[2057] = 246  # the size of an object in the global heap
    model_of(project).write_bytes(content)
    monkeypatch.setattr("convert.keras.open.PATIENCE", 2.0)
    assert "HDF5 did not finish" in refused(project)


@given(seed=st.integers(0, 2**32 - 1), cut=st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_damage_is_a_sentence_or_harmless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, seed: int, cut: bool
) -> None:
    """Byte flips anywhere, half of them in the structure at the file's start."""
    monkeypatch.setattr("convert.keras.open.PATIENCE", 3.0)
    content = bytearray((MODELS / "tf2.1-sequential.h5").read_bytes())
    chosen = random.Random(seed)
    for _ in range(chosen.randint(1, 8)):
        content[chosen.randrange(chosen.choice([16384, len(content)]))] = chosen.randrange(256)
    if cut:
        del content[chosen.randrange(len(content)) :]
    folder = tmp_path / "project"
    if not folder.exists():
        make_project(folder, MODELS / "tf2.1-sequential.h5", size=(37, 50))
    model_of(folder).write_bytes(content)
    code = main([str(folder), str(tmp_path / "model")])
    said = capsys.readouterr().err
    assert (code, said.startswith("error: ")) in ((0, False), (1, True))
    shutil.rmtree(tmp_path / "model", ignore_errors=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["project"]
