"""The demo as a WD tagger: from the published layout through `engine convert` and `engine run` to the right tags."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from convert.cli import main as convert
from demo.render import Truth, render
from demo.score import f1
from demo.wd import LEARNED, ORDER, write_wd
from tests.engine.runs.test_run import catalogue
from tests.support.media_server import MediaServer
from tests.support.runs import command, run

PICTURES = 60


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wd(tmp_path_factory.mktemp("wd"))


@pytest.fixture(scope="module")
def truth(published: Path) -> list[Truth]:
    return render(published / "pictures", PICTURES, seed=4711)


def test_it_is_laid_out_as_the_family_is(published: Path) -> None:
    graph = onnx.load(published / "model.onnx").graph
    shape = [d.dim_value or d.dim_param for d in graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["N", 128, 128, 3] and graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [node.op_type for node in graph.node][-1] == "Sigmoid"
    rows = (published / "selected_tags.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "tag_id,name,category,count" and rows[1].split(",")[1:3] == ["safe", "9"]
    assert {row.rsplit(",", 2)[1] for row in rows[1:]} == {"0", "4", "9"} and len(rows) == 1 + len(ORDER)
    assert LEARNED.stat().st_size < 10_000 and np.isfinite(np.load(LEARNED)).all()


def test_convert_and_run_give_the_true_tags(published: Path, truth: list[Truth], tmp_path: Path) -> None:
    assert convert([str(published), str(tmp_path / "model")]) == 0
    media = catalogue(published / "pictures")
    with MediaServer(media) as server:
        ended = run(command(server, tmp_path / "model", published / "pictures", tmp_path / "s.db"))
        assert ended.returncode == 0, ended.stderr
        paths = {str(number): path for number, path in media}
        found: dict[str, list[str]] = {}
        for media_id, tag in server.store:
            found.setdefault(paths[media_id], []).append(tag)
    score = f1({picture.path: picture.tags for picture in truth}, found)
    assert score >= 0.98, f"F1 {score:.3f}"
    ratings = [[tag for tag in tags if tag.startswith("rating:")] for tags in found.values()]
    assert len(ratings) == PICTURES and all(len(one) == 1 for one in ratings)  # the best, and it alone
