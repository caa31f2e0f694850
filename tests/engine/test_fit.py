"""The geometry against what the original made of the fixtures, and against the slow reference."""

from pathlib import Path

import numpy as np
import pytest

from engine.decode import decode
from engine.fit import fit

FIXTURES = Path(__file__).parents[1] / "fixtures" / "preprocess"

with np.load(FIXTURES / "golden-128.npz") as _goldens:
    GOLDENS = {name: _goldens[name] for name in _goldens.files}


def test_every_fixture_has_a_golden():
    pictures = {path.name for path in FIXTURES.iterdir()} - {"README.md", "golden-128.npz"}
    assert pictures == GOLDENS.keys()


@pytest.mark.parametrize("name", GOLDENS)
def test_goldens(name):
    row = fit(decode((FIXTURES / name).read_bytes(), name), 128, 128)
    assert np.abs(row - GOLDENS[name].astype(np.float64) * 255).max() <= 0.51
