"""The demo's network as a tagger of the WD family: `model.onnx` and `selected_tags.csv`, as these are published.

    python -m demo.wd FOLDER       writes such a folder, which `engine convert` takes
    python -m demo.wd --train      learns the ratings anew (wd_ratings.npy); two minutes, without TensorFlow

The weights are those of the DeepDanbooru demo; only what goes in and comes out is the WD family's: float32 NHWC, BGR,
0..255, a picture padded to a white square. A rating is shown by a frame, and a frame inside white padding looks
different from one that is carried on to the edge. So the ratings' columns of the last layer, and they alone, are
learned again on such pictures.
"""

import argparse
import csv
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from convert.conversion import convert
from demo.render import FORMATS, picture
from demo.scene import CHARACTERS, GENERAL, RATINGS, TAGS
from engine.families import FAMILIES, Family
from engine.types import Preprocessing

PROJECT = Path(__file__).parent / "model"
LEARNED = Path(__file__).parent / "wd_ratings.npy"
SIDE = 128
ORDER = (*RATINGS, *GENERAL, *CHARACTERS)
"""As the family has it: ratings, general tags, characters."""
_CATEGORY = {RATINGS: 9, GENERAL: 0, CHARACTERS: 4}
_PICTURES, _SEED, _STEPS, _RATE = 5000, 2021, 3000, 0.02
Matrix = npt.NDArray[np.float32]


def write_wd(folder: Path) -> Path:
    """Write `model.onnx` and `selected_tags.csv` into a folder, which is made if need be. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    learned = np.load(LEARNED)
    onnx.save(_tagger(_network(), learned[:-1], learned[-1]), folder / "model.onnx")
    with (folder / "selected_tags.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["tag_id", "name", "category", "count"])
        numbers = {tag: number for tags, number in _CATEGORY.items() for tag in tags}
        for i, tag in enumerate(ORDER):  # the counts descend, as they do where tags are sorted by them
            rows.writerow([10_000 + i, tag.removeprefix("rating:"), numbers[tag], 90_000 - i])
    return folder


def _network() -> onnx.ModelProto:
    """The demo's model, as the converter writes it."""
    with tempfile.TemporaryDirectory() as work:
        convert(PROJECT, Path(work) / "model")
        return onnx.load(Path(work) / "model" / "model.fp32.onnx")


def _tagger(model: onnx.ModelProto, ratings: Matrix, bias: Matrix) -> onnx.ModelProto:
    """The network with the family's input, and a last layer in the family's order.

    Args:
        model: the demo's.
        ratings: float32 [features, ratings], what was learned again.
        bias: float32 [ratings].
    """
    graph = model.graph
    transpose = next(node for node in graph.node if node.op_type == "Transpose")
    head = next(node for node in graph.node if node.op_type == "Gemm")
    kernel = next(numpy_helper.to_array(one) for one in graph.initializer if one.name == head.input[1])
    weights = np.concatenate([ratings, kernel[:, [TAGS.index(tag) for tag in (*GENERAL, *CHARACTERS)]]], axis=1)
    biases = np.concatenate([bias, np.zeros(len(ORDER) - len(RATINGS), np.float32)])
    begin = [
        helper.make_node("Gather", ["input", "swap"], ["rgb"], axis=3),
        helper.make_node("Div", ["rgb", "white"], ["unit"]),
        helper.make_node("Transpose", ["unit"], [transpose.output[0]], perm=[0, 3, 1, 2]),
    ]
    end = [
        helper.make_node("Gemm", [head.input[0], "weights", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["predictions"]),
    ]
    nodes = list(graph.node)
    middle = nodes[nodes.index(transpose) + 1 : nodes.index(head)]
    constants = {"swap": np.array([2, 1, 0]), "white": np.array(255, np.float32), "weights": weights, "bias": biases}
    used = {name for node in middle for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    for name in ("node", "input", "output", "initializer"):
        graph.ClearField(name)
    graph.node.extend([*begin, *middle, *end])
    graph.initializer.extend([*kept, *(numpy_helper.from_array(value, name) for name, value in constants.items())])
    graph.input.append(helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", SIDE, SIDE, 3]))
    graph.output.append(helper.make_tensor_value_info("predictions", TensorProto.FLOAT, ["N", len(ORDER)]))
    del model.metadata_props[:]
    return model


def train(say: Callable[[str], None] = print) -> None:
    """Learn the ratings on rendered pictures that are fitted as the family fits them, and write what was learned."""
    labels = np.zeros((_PICTURES, len(RATINGS)), np.float32)
    rows = np.empty((_PICTURES, SIDE, SIDE, 3), np.uint8)
    family = Family(FAMILIES["wd"], Preprocessing("wd", SIDE, SIDE, "uint8"))

    def one(number: int) -> None:
        data, tags = picture(number, _SEED, FORMATS)
        family.fit(family.decode(data, "", max_pixels=10**8), rows[number])
        labels[number] = [tag in tags for tag in RATINGS]

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, range(_PICTURES)))
    say(f"{_PICTURES} pictures rendered")
    features = _features(rows)
    unseen = slice(_PICTURES * 9 // 10, None)
    known = slice(None, unseen.start)
    learned = _fit(features[known], labels[known])
    right = (features[unseen] @ learned[:-1] + learned[-1]).argmax(axis=1) == labels[unseen].argmax(axis=1)
    say(f"the best rating is right for {right.mean():.1%} of {right.size} pictures that were not learned from")
    np.save(LEARNED, learned)


def _features(rows: npt.NDArray[np.uint8]) -> Matrix:
    """float32 [n, features] of uint8 rows [n, height, width, 3], RGB."""
    from engine.model.onnx_runtime import import_onnxruntime

    session = import_onnxruntime().InferenceSession(_network().SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    found = [
        session.run(["features"], {name: rows[at : at + 64].astype(np.uint16) * 256})[0]
        for at in range(0, len(rows), 64)
    ]
    return np.concatenate(found)


def _fit(features: Matrix, labels: Matrix) -> Matrix:
    """Logistic regression by Adam. Returns float32 [features + 1, labels]; the last row is the bias."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    inputs = np.concatenate([(features - mean) / deviation, np.ones((len(features), 1))], axis=1)
    weights = np.zeros((inputs.shape[1], labels.shape[1]))
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, _STEPS + 1):
        slope = inputs.T @ (1 / (1 + np.exp(-inputs @ weights)) - labels) / len(inputs) + 1e-4 * weights
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        weights -= _RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    kernel = weights[:-1] / deviation[:, np.newaxis]
    return np.concatenate([kernel, weights[-1:] - mean @ kernel]).astype(np.float32)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.wd", description="The demo's model as a WD tagger.")
    parser.add_argument("folder", type=Path, nargs="?", help="where model.onnx and selected_tags.csv go")
    parser.add_argument("--train", action="store_true", help="learn the ratings anew first")
    options = parser.parse_args(argv)
    if options.train:
        train()
    if options.folder:
        print(f"written to {write_wd(options.folder)}")


if __name__ == "__main__":
    main()
