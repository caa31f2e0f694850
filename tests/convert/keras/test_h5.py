"""Legacy .h5 files that are damaged, crafted or no model."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.convert.projects import model_of

pytestmark = pytest.mark.usefixtures("no_child_process")


def test_truncated(project: Path, refused: Callable[..., str]) -> None:
    content = model_of(project).read_bytes()
    model_of(project).write_bytes(content[: len(content) // 2])
    assert "model-small.h5" in refused(project)


def test_not_hdf5(project: Path, refused: Callable[..., str]) -> None:
    model_of(project).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "no HDF5 file" in refused(project)


def test_hdf5_but_no_keras_model(project: Path, refused: Callable[..., str]) -> None:
    with h5py.File(model_of(project), "w") as h5:
        h5["data"] = np.zeros(3)
    assert "no Keras model" in refused(project)


def test_weights_without_their_model(project: Path, refused: Callable[..., str]) -> None:
    with h5py.File(model_of(project), "w") as h5:
        h5.attrs["layer_names"] = [b"conv2d"]
    assert "only weights" in refused(project)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_weights(project: Path, refused: Callable[..., str], value: float) -> None:
    with h5py.File(model_of(project), "r+") as h5:
        h5["model_weights/conv2d_3/conv2d_3/kernel:0"][0, 0, 0, 0] = value
    assert "conv2d_3/kernel:0" in refused(project)


def replace_kernel(file: Path, make: Callable[[h5py.Group], None]) -> None:
    with h5py.File(file, "r+") as h5:
        group = h5["model_weights/conv2d/conv2d"]
        del group["kernel:0"]
        make(group)


def test_a_tiny_file_cannot_claim_huge_weights(project: Path, refused: Callable[..., str]) -> None:
    replace_kernel(
        model_of(project), lambda g: g.create_dataset("kernel:0", (7, 7, 3, 10**9), "f4", chunks=(7, 7, 3, 1))
    )
    assert "kernel:0 is compressed, chunked or stored outside" in refused(project)
    replace_kernel(model_of(project), lambda g: g.create_dataset("kernel:0", (7, 7, 3, 10**9), "f4"))
    assert "fewer weights" in refused(project)


def test_a_compression_bomb_is_not_opened(project: Path, refused: Callable[..., str]) -> None:
    zeros = np.zeros((7, 7, 3, 4), np.float32)
    replace_kernel(model_of(project), lambda g: g.create_dataset("kernel:0", data=zeros, compression="gzip"))
    assert "compressed" in refused(project)


@pytest.mark.parametrize("kind", ["soft", "external", "raw", "virtual"])
def test_other_files_are_not_read(project: Path, refused: Callable[..., str], tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    with h5py.File(secret, "w") as h5:
        h5["kernel"] = np.ones((7, 7, 3, 4), np.float32)

    def link(group: h5py.Group) -> None:
        if kind == "soft":
            group["kernel:0"] = h5py.SoftLink("/elsewhere")
        elif kind == "external":
            group["kernel:0"] = h5py.ExternalLink(str(secret), "kernel")
        elif kind == "raw":
            group.create_dataset("kernel:0", (7, 7, 3, 4), "f4", external=[(str(secret), 0, 7 * 7 * 3 * 4 * 4)])
        else:
            layout = h5py.VirtualLayout((7, 7, 3, 4), "f4")
            layout[:] = h5py.VirtualSource(str(secret), "kernel", (7, 7, 3, 4))
            group.create_virtual_dataset("kernel:0", layout)

    replace_kernel(model_of(project), link)
    assert "link" in (said := refused(project)) or "stored outside" in said or "is missing" in said


def test_a_huge_attribute_is_not_read(project: Path, refused: Callable[..., str]) -> None:
    with h5py.File(model_of(project), "w", libver="latest") as h5:
        h5.attrs["model_config"] = np.bytes_(b"[" * (65 << 20))
    assert "claims over 64 MB" in refused(project)
