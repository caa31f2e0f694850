"""ONNX taggers for the tests: the demo's network with its trained weights, in the shapes that published taggers have.

What each of them wants of a picture is undone before the network, which itself wants RGB in 0..1: so its tags are right
only where the converter gives it what it says it wants.
"""

import csv
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convert.conversion import convert
from demo.scene import TAGS
from engine.model.folder import open_model

DEMO = Path(__file__).parents[2] / "demo" / "model"
SIDE = 128
_NUMBERS = {"System": 9, "General": 0, "Character": 4}
_IMAGENET = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


@cache
def _demo(folder: Path) -> tuple[bytes, tuple[tuple[str, int], ...]]:
    """The demo's ONNX file, and its tags with Danbooru's category numbers."""
    if not folder.exists():
        convert(DEMO, folder)
    model = open_model(folder)
    tags = tuple((tag, _NUMBERS[name]) for tag, name in zip(model.tags, model.categories, strict=True))
    return (folder / "model.fp32.onnx").read_bytes(), tags


def order(folder: Path) -> list[int]:
    """The demo's tags in the WD family's order, by index: ratings, general tags, characters."""
    tags = _demo(folder)[1]
    return [i for number in (9, 0, 4) for i, (_, category) in enumerate(tags) if category == number]


def write_tagger(
    folder: Path,
    demo: Path,
    *,
    layout: str = "nhwc",
    colour: str = "bgr",
    value_range: str = "255",
    logits: bool = False,
    batch: str | int = "N",
    any_size: bool = False,
    external: bool = False,
    change: Callable[[onnx.ModelProto], object] = lambda model: None,
) -> Path:
    """Writes `model.onnx` and `selected_tags.csv` as the WD family has them, or with another input.

    Args:
        folder: where they go.
        demo: a folder that keeps the converted demo model from one call to the next.
        layout, colour, value_range, logits: what the file wants and gives, as `engine convert` names it.
        batch: the first axis of the input.
        any_size: height and width are not said.
        external: the weights lie beside the model.
        change: applied before it is written.
    """
    content, _ = _demo(demo)
    model = onnx.load_from_string(content)
    graph = model.graph
    cast, divide, transpose = graph.node[:3]
    assert [node.op_type for node in graph.node[:3]] == ["Cast", "Div", "Transpose"]
    constants = [_constant("order", np.array(order(demo)))]
    nodes: list[onnx.NodeProto] = []
    now = "input_1:0"

    def step(operator: str, *inputs: str, **attributes: object) -> None:
        nonlocal now
        name = f"tagger/{len(nodes)}"
        nodes.append(helper.make_node(operator, [now, *inputs], [name], name=name, **attributes))  # type: ignore[arg-type]
        now = name

    if layout == "nchw":
        step("Transpose", perm=[0, 2, 3, 1])
    if colour == "bgr":
        constants.append(_constant("swap", np.array([2, 1, 0])))
        step("Gather", "swap", axis=3)
    if value_range == "imagenet":
        constants += [_constant("mean", _IMAGENET[0]), _constant("deviation", _IMAGENET[1])]
        step("Mul", "deviation")
        step("Add", "mean")
    if value_range == "255":
        constants.append(_constant("white", np.float32(255) * np.ones((), np.float32)))
        step("Div", "white")
    step("Transpose", perm=[0, 3, 1, 2])
    nodes[-1].output[0] = transpose.output[0]
    network = [node for node in graph.node[3:] if node.output[0] != "features"]  # the published ones give scores only
    last = network[-1]
    assert last.op_type == "Sigmoid" and cast.op_type != divide.op_type
    ends = [helper.make_node("Gather", [last.input[0] if logits else "in_order"], ["predictions"], axis=1)]
    if logits:
        ends[0].input.append("order")
        middle = network[:-1]
    else:
        last.output[0] = "in_order"
        ends[0].input.append("order")
        middle = network
    sides: list[str | int] = ["h", "w"] if any_size else [SIDE, SIDE]
    shape = [batch, 3, *sides] if layout == "nchw" else [batch, *sides, 3]
    for name in ("node", "input", "output"):
        graph.ClearField(name)
    graph.node.extend([*nodes, *middle, *ends])
    graph.initializer.extend(constants)
    graph.input.append(helper.make_tensor_value_info("input_1:0", TensorProto.FLOAT, shape))
    graph.output.append(helper.make_tensor_value_info("predictions", TensorProto.FLOAT, [batch, len(TAGS)]))
    change(model)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(
        model, folder / "model.onnx", save_as_external_data=external, location="model.onnx.data", size_threshold=0
    )
    write_tags(folder / "selected_tags.csv", demo)
    return folder


def write_tags(path: Path, demo: Path, tags: list[int] | None = None) -> None:
    """`selected_tags.csv`: the frequent tags first, within each category."""
    all_tags = _demo(demo)[1]
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["tag_id", "name", "category", "count"])
        for i in tags if tags is not None else order(demo):
            name, category = all_tags[i]
            rows.writerow([10_000 + i, name.removeprefix("rating:"), category, 90_000 - i])


def _constant(name: str, value: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(value, name)
