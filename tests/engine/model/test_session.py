"""Sessions on the CPU: real ONNX Runtime, real model files, the optimised-model cache; runners that fail on purpose."""

import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from engine.errors import ModelError, SessionError
from engine.model import cache as modelcache
from engine.model import distribution as runtime
from engine.model.distribution import import_runtime
from engine.model.folder import Model, Precision, open_model
from engine.model.open import SessionConfig, open_session
from engine.model.runners import BoundRunner, CpuRunner, cpu_options
from engine.model.session import Opening, OrtSession

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Model:
    """A copy, to be broken."""
    return open_model(Path(shutil.copytree(tiny_model, tmp_path / "model")))


@pytest.fixture
def fp32(model: Model) -> Precision:
    return model.precision("fp32")


def loaded(precision: Precision, cache: Path) -> onnxruntime.InferenceSession:
    return modelcache.load(onnxruntime, precision, lambda: cpu_options(onnxruntime, 1), cache, smallest=0)


def scores(session: onnxruntime.InferenceSession) -> np.ndarray:
    return CpuRunner(session, onnxruntime.RunOptions())(PIXELS)


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "models").iterdir())


# The session


def test_a_session_on_the_cpu(model: Model, fp32: Precision, tmp_path: Path) -> None:
    session = open_session(model, fp32, SessionConfig(device="cpu", cache=tmp_path))
    assert (session.device, session.precision, session.batch_size) == ("cpu", "fp32", 4)
    assert session.why == "cpu, as asked" and session.peak_vram_mb is None
    found = session.run(PIXELS)
    assert found.shape == (5, 50) and found.dtype == np.float32
    expected = onnxruntime.InferenceSession(fp32.file, providers=["CPUExecutionProvider"]).run(None, {"pixels": PIXELS})
    np.testing.assert_allclose(found, expected[0], atol=1e-6)


def test_two_threads_share_a_session(model: Model, fp32: Precision, tmp_path: Path) -> None:
    session = open_session(model, fp32, SessionConfig(device="cpu", cache=tmp_path))
    expected, found = session.run(PIXELS), []
    threads = [threading.Thread(target=lambda: found.append(session.run(PIXELS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and all(np.array_equal(one, expected) for one in found)


def test_terminate_ends_what_runs_next(model: Model, fp32: Precision, tmp_path: Path) -> None:
    session = open_session(model, fp32, SessionConfig(device="cpu", cache=tmp_path))
    session.terminate()
    with pytest.raises(SessionError, match="terminate"):
        session.run(PIXELS)


def test_a_changed_model_file_is_refused(model: Model, fp32: Precision, tmp_path: Path) -> None:
    with fp32.file.open("r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"x")
    with pytest.raises(ModelError, match=r"is not the one its model\.json describes"):
        open_session(model, fp32, SessionConfig(device="cpu", cache=tmp_path))


def test_a_file_that_is_no_model(model: Model, fp32: Precision, tmp_path: Path) -> None:
    fp32.file.write_bytes(b"no model")
    import hashlib

    forged = replace(fp32, sha256=hashlib.sha256(b"no model").hexdigest())
    with pytest.raises(ModelError, match="cannot use"):
        open_session(model, forged, SessionConfig(device="cpu", cache=tmp_path))


def test_a_precision_that_was_never_compared_is_said(
    model: Model, fp32: Precision, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = SessionConfig(device="cpu", cache=tmp_path)
    open_session(model, replace(fp32, name="int8", verdict="pass"), config)
    assert not caplog.messages
    open_session(model, replace(fp32, name="int8", verdict=None), config)
    open_session(model, replace(fp32, name="fp16", verdict="fail"), config)
    assert [message.partition("'s ")[2][:29] for message in caplog.messages] == [
        "int8 was never compared with ",
        "fp16 failed its comparison wi",
    ]


# The cache of optimised models


def test_the_second_start_comes_from_the_cache(fp32: Precision, tmp_path: Path) -> None:
    first = scores(loaded(fp32, tmp_path))
    [entry] = entries(tmp_path)
    assert (entry / "weights.bin").stat().st_size > 0.9 * fp32.file.stat().st_size
    second = loaded(fp32, tmp_path)
    assert second._model_path == str(entry / "model.onnx")
    np.testing.assert_array_equal(scores(second), first)


def test_a_small_model_is_not_kept(fp32: Precision, tmp_path: Path) -> None:
    modelcache.load(onnxruntime, fp32, lambda: cpu_options(onnxruntime, 1), tmp_path / "cache")
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
    modelcache._Entry(entry).seal(fp32.file)  # looks whole
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


def test_a_model_that_was_only_touched_is_hashed_once(
    fp32: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(fp32, tmp_path)
    os.utime(fp32.file, ns=(5, 5))
    hashed: list[Precision] = []
    monkeypatch.setattr(modelcache, "check_file", hashed.append)
    for _ in range(3):
        loaded(fp32, tmp_path)
    assert len(hashed) == 1


def test_another_runtime_or_cpu_makes_its_own_and_the_old_one_goes(
    fp32: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(fp32, tmp_path)
    [old] = entries(tmp_path)
    monkeypatch.setattr(modelcache, "_cpu", lambda: "another")
    loaded(fp32, tmp_path)
    [new] = entries(tmp_path)
    assert new != old


def test_the_cache_keeps_a_few_models(fp32: Precision, tmp_path: Path) -> None:
    for age in range(modelcache.KEPT + 3):
        other = tmp_path / "models" / f"{age:016}-0"
        other.mkdir(parents=True)
        os.utime(other, (1000 - age, 1000 - age))
    loaded(fp32, tmp_path)
    assert len(entries(tmp_path)) == modelcache.KEPT
    assert f"{0:016}-0" in {entry.name for entry in entries(tmp_path)}


def test_what_a_killed_process_left_goes(fp32: Precision, tmp_path: Path) -> None:
    old, new = tmp_path / "models" / ".new-1", tmp_path / "models" / ".new-2"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (1000, 1000))
    loaded(fp32, tmp_path)
    assert not old.exists() and new.exists()  # the other may be at work


# A session that helps itself


class Runner:
    """Gives each picture's mean in two tags; runs out of memory with more than `fits` pictures."""

    def __init__(self, size: int, fits: int = 1000, scores: float | None = None) -> None:
        self.session = None
        self.size, self.fits, self.scores = size, fits, scores

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        assert len(pixels) <= self.size
        if self.size > self.fits:
            raise RuntimeError(
                "[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 1048576"
            )
        if self.scores is not None:
            return np.full((len(pixels), 2), self.scores, np.float32)
        return np.repeat(pixels.mean(axis=(1, 2, 3), dtype=np.float32)[:, None] / 255, 2, axis=1)


def opening(runner, batch_size: int, device: str = "cuda", **more) -> Opening:
    return Opening(runner, SimpleNamespace(terminate=False), batch_size, device, "fp16", "", **more)


def test_out_of_memory_halves_the_batch_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    made = []

    def runner(size: int) -> Runner:
        made.append(size)
        return Runner(size, fits=3)

    session = OrtSession(opening(runner, 8, "cpu"), (64, 64))
    found = session.run(PIXELS)
    np.testing.assert_allclose(found[:, 0], PIXELS.mean(axis=(1, 2, 3)) / 255, rtol=1e-5)
    assert made == [8, 4, 2]
    assert caplog.messages == [
        "out of memory with 8 pictures at once: going on with 4",
        "out of memory with 4 pictures at once: going on with 2",
    ]
    assert session.batch_size == 8  # the batches keep their size, they run in parts
    session.run(PIXELS)
    assert made == [8, 4, 2]


def test_the_warm_up_finds_the_batch_that_fits() -> None:
    assert OrtSession(opening(lambda n: Runner(n, fits=4), 16), (64, 64)).batch_size == 4


def test_out_of_memory_with_one_picture_ends_it() -> None:
    with pytest.raises(SessionError, match="with a single picture: close what else uses it"):
        OrtSession(opening(lambda n: Runner(n, fits=0), 4), (64, 64))


def test_two_threads_out_of_memory_halve_once(caplog: pytest.LogCaptureFixture) -> None:
    barrier = threading.Barrier(2)

    class Both(Runner):
        def __call__(self, pixels: np.ndarray) -> np.ndarray:
            if self.size == 4 and self.session is None:
                barrier.wait(timeout=10)  # both run before either halves
            return super().__call__(pixels)

    session = OrtSession(opening(lambda n: Both(n, fits=2), 4, "cpu"), (64, 64))
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(session.run(PIXELS[:4]))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(one) for one in found] == [4, 4]
    assert len(caplog.messages) == 1


def test_another_failure_is_one_sentence() -> None:
    class Broken(Runner):
        def __call__(self, pixels: np.ndarray) -> np.ndarray:
            raise RuntimeError("CUDNN failure\nwith a page of text")

    with pytest.raises(SessionError, match=r"^ONNX Runtime failed on a batch: CUDNN failure$"):
        OrtSession(opening(Broken, 4), (64, 64))


def test_scores_that_are_no_numbers_are_computed_again_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    made = []

    def spare() -> Runner:
        made.append(1)
        return Runner(4)

    session = OrtSession(opening(lambda n: Runner(n, scores=float("nan")), 8, spare=spare), (64, 64))
    for _ in range(2):
        np.testing.assert_allclose(session.run(PIXELS)[:, 0], PIXELS.mean(axis=(1, 2, 3)) / 255, rtol=1e-5)
    assert made == [1]
    [message] = caplog.messages
    assert message.startswith("fp16 on cuda gave scores that are no numbers")


@pytest.mark.parametrize(
    ("spare", "sentence"),
    [
        (None, "no numbers in fp16 on cuda: convert it again with --precision fp32"),
        (lambda: Runner(4, scores=float("inf")), "no numbers, in fp32 too: convert it again"),
    ],
)
def test_no_numbers_in_fp32_either_ends_it(spare, sentence: str) -> None:
    session = OrtSession(opening(lambda n: Runner(n, scores=float("nan")), 8, spare=spare), (64, 64))
    with pytest.raises(SessionError, match=sentence):
        session.run(PIXELS)


# The binding that CUDA uses, with buffers on the CPU


def test_bound_buffers_give_the_same_scores(model: Model, fp32: Precision) -> None:
    session = onnxruntime.InferenceSession(fp32.file, providers=["CPUExecutionProvider"])
    expected = CpuRunner(session, onnxruntime.RunOptions())(PIXELS)
    runner = BoundRunner(onnxruntime, session, onnxruntime.RunOptions(), 5, model, "cpu")
    first = runner(PIXELS)
    np.testing.assert_allclose(first, expected, atol=1e-6)
    second = runner(np.ascontiguousarray(PIXELS[::-1]))
    np.testing.assert_allclose(second, expected[::-1], atol=1e-6)
    np.testing.assert_allclose(first, expected, atol=1e-6)  # not the buffer itself
    np.testing.assert_allclose(runner(PIXELS[:2]), expected[:2], atol=1e-6)  # padded


def test_each_thread_has_its_own_buffers(model: Model, fp32: Precision) -> None:
    session = onnxruntime.InferenceSession(fp32.file, providers=["CPUExecutionProvider"])
    runner = BoundRunner(onnxruntime, session, onnxruntime.RunOptions(), 1, model, "cpu")
    expected = CpuRunner(session, onnxruntime.RunOptions())(PIXELS)
    wrong = []

    def work(i: int) -> None:
        for _ in range(20):
            if not np.allclose(runner(PIXELS[i : i + 1]), expected[i : i + 1], atol=1e-6):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# The runtime


def test_two_distributions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_owns_package", lambda name: name in ("onnxruntime", "onnxruntime-gpu"))
    with pytest.raises(SessionError, match=r"`pip uninstall -y onnxruntime onnxruntime-gpu`, then `pip install "):
        import_runtime()


def test_a_distribution_without_the_package_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an uninstalled or namesake distribution leaves behind is its metadata alone."""
    left = tmp_path / "onnxruntime_directml-1.0.dist-info"
    left.mkdir()
    (left / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: onnxruntime-directml\nVersion: 1.0\n", encoding="utf-8"
    )
    (left / "RECORD").write_text("onnxruntime_directml-1.0.dist-info/METADATA,,\n", encoding="utf-8")
    before = runtime.installed()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert runtime.installed() == before
    (left / "RECORD").write_text("onnxruntime/__init__.py,,\n", encoding="utf-8")
    assert runtime.installed() == [*before, "onnxruntime-directml"]


def test_the_runtime_that_is_there(capfd: pytest.CaptureFixture[str]) -> None:
    assert import_runtime() is onnxruntime
    assert json.dumps(capfd.readouterr()) == '["", ""]'
