"""An ONNX tagger's graph: what it takes and gives, whether it can be used, and the engine's own ends around it.

The weights stay as they are, in the file or beside it.
"""

import hashlib
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from convert.errors import ConvertError
from convert.taggers.features import find_features
from engine.families import Traits
from engine.model.folder import sha256_of
from engine.types import WHITE, Preprocessing

_OPERATORS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
"""The domains whose operators every ONNX Runtime has."""
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16}
_OLDEST = 9  # opset; what is put around the graph means the same in all from here on
_MAX_SIDE = 8192
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures in 0..1, as RGB; what torchvision and timm take."""
_AGAIN = "download or export it again"


@dataclass(slots=True)
class Graph:
    """An ONNX file that was read and can be used.

    Attributes:
        path: the file.
        model: its content, without the weights that lie beside it.
        input: the name of its only input.
        dims: its four sides, None where any will do.
        layout: of the input, as the dims say; None where they do not tell.
        outputs: (name, how many values for a picture or None) of each output.
        data: the files with weights beside it, by the name that the graph has for them.
        parameters: weights.
        sha256: of the file and of those beside it, in hex.
    """

    path: Path
    model: onnx.ModelProto
    input: str
    dims: tuple[int | None, ...]
    layout: str | None
    outputs: list[tuple[str, int | None]]
    sha256: str
    data: dict[str, Path] = field(default_factory=dict)
    parameters: int = 0


def read_graph(path: Path) -> Graph:
    """Reads an ONNX file and refuses what is no tagger. Raises ConvertError with the way out."""
    model = _load(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise ConvertError(f"{path} has {len(inputs)} inputs ({names}), a tagger has one: export it with pixels alone.")
    dims, layout = _picture_shape(path, inputs[0])
    _check_operators(path, model)
    graph = Graph(path, model, inputs[0].name, dims, layout, _outputs(path, model), "")
    for tensor in _tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL:
            name, file = _data_file(path, tensor)
            graph.data[name] = file
        _check_values(path, tensor)
        graph.parameters += math.prod(tensor.dims) if tensor.name in weights else 0
    digests = [sha256_of(file) for file in (path, *graph.data.values())]
    graph.sha256 = digests[0] if not graph.data else _digest_of(digests)
    return graph


def output_for(graph: Graph, tags: int) -> str:
    """The output that has as many values as there are tags. Raises ConvertError if there is none."""
    for name, count in graph.outputs:
        if count in (None, tags):
            return name
    counts = " or ".join(str(count) for _, count in graph.outputs)
    raise ConvertError(
        f"{graph.path} gives {counts} scores and there are {tags} tags: they belong to different models, take both "
        "from the same release."
    )


def write_wrapped(
    graph: Graph, output: str, rows: Preprocessing, traits: Traits, tags: int, target: Path
) -> int | None:
    """Writes the graph with the engine's input and output; `graph.model` is used up. The weights beside it are copied.

    The file takes `pixels`, [N, height, width, 3] RGB of the rows' dtype, and gives `scores`, float32 [N, tags], and
    `features`, float32 [N, size], where there is such a vector. Returns its size, None if there is none.
    """
    model, inner = graph.model, graph.model.graph
    taken = {name: f"{name}_of_the_original" for name in ("pixels", "scores", "features")}
    _rename(inner, taken)
    source, result = taken.get(graph.input, graph.input), taken.get(output, output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inner.input, *inner.output)}
    nodes, constants = _entrance(source, kinds[source], rows, traits)
    exit_nodes = [helper.make_node("Cast", [result], ["engine/float"], to=TensorProto.FLOAT)]
    exit_nodes.append(helper.make_node("Sigmoid" if traits.logits else "Identity", ["engine/float"], ["scores"]))
    vector = find_features(inner, result)
    if vector:
        exit_nodes.append(helper.make_node("Cast", [vector.name], ["features"], to=TensorProto.FLOAT))
    for node in (*nodes, *exit_nodes):
        node.name = f"engine/{node.output[0]}"
    all_nodes = [*nodes, *inner.node, *exit_nodes]
    for field_name in ("node", "input", "output", "value_info"):  # value_info may say that a batch has one picture
        inner.ClearField(field_name)
    inner.node.extend(all_nodes)
    inner.initializer.extend(constants)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(rows.dtype))
    inner.input.append(helper.make_tensor_value_info("pixels", kind, ["N", rows.height, rows.width, 3]))
    inner.output.append(helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", tags]))
    if vector:
        inner.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", vector.size]))
    model.ir_version = max(model.ir_version, 4)  # before, weights had to be inputs too
    locations = {name: data_name(target, number) for number, name in enumerate(graph.data)}
    for tensor in _tensors(inner):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = locations[entry.value]
    target.unlink(missing_ok=True)
    target.write_bytes(model.SerializeToString())
    for name, file in graph.data.items():
        copy = target.with_name(locations[name])
        copy.unlink(missing_ok=True)
        shutil.copyfile(file, copy)
    return vector.size if vector else None


def data_name(target: Path, number: int) -> str:
    """What a file with weights beside `target` is called."""
    return f"{target.name}.data" + (str(number + 1) if number else "")


def _load(path: Path) -> onnx.ModelProto:
    try:
        with path.open("rb") as file:
            if file.read(20).startswith(b"version https://git"):
                raise ConvertError(
                    f"{path} is a Git LFS pointer and not the model: `git lfs pull`, or download the file itself."
                )
        model = onnx.load(path, load_external_data=False)
    except ConvertError:
        raise
    except OSError as error:
        raise ConvertError(f"{path} cannot be read ({error.strerror or error}): {_AGAIN}.") from error
    except Exception as error:  # protobuf's errors share no base but Exception
        raise ConvertError(f"{path} is damaged or no ONNX file: {_AGAIN}.") from error
    if not model.graph.node or not model.graph.output:
        raise ConvertError(f"{path} is damaged or no ONNX file, it holds no graph: {_AGAIN}.")
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    if opset < _OLDEST:
        raise ConvertError(f"{path} is of opset {opset}, too old: export it with opset {_OLDEST} or later.")
    return model


def _picture_shape(path: Path, value: onnx.ValueInfoProto) -> tuple[tuple[int | None, ...], str | None]:
    """The four sides and the layout, as far as the input's shape tells them."""
    kind = value.type.tensor_type
    dims = [dim.dim_value or None for dim in kind.shape.dim]
    if kind.elem_type not in _FLOATS or len(dims) != 4 or not {dims[1], dims[3]} & {3, None}:
        shown = "x".join(str(dim or "?") for dim in dims) or "no shape"
        name = TensorProto.DataType.Name(kind.elem_type).lower()
        raise ConvertError(
            f"the input {value.name} of {path} is {name} {shown}, so it is no tagger that takes pictures: it must be "
            "float [N, height, width, 3] or [N, 3, height, width]."
        )
    if any(side is not None and side > _MAX_SIDE for side in dims[1:]):
        raise ConvertError(f"{path} takes pictures of more than {_MAX_SIDE} pixels a side, so it is no tagger.")
    layout = {(True, False): "nchw", (False, True): "nhwc"}.get((dims[1] == 3, dims[3] == 3))
    return tuple(dims), layout


def _outputs(path: Path, model: onnx.ModelProto) -> list[tuple[str, int | None]]:
    outputs = []
    for value in model.graph.output:
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.elem_type in _FLOATS and len(dims) in (0, 2):
            outputs.append((value.name, (dims[1].dim_value or None) if dims else None))
    if not outputs:
        names = ", ".join(value.name for value in model.graph.output)
        raise ConvertError(f"{path} gives {names} and no float [N, tags], so it is no tagger: {_AGAIN}.")
    return outputs


def _check_operators(path: Path, model: onnx.ModelProto) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    for node in _nodes(model.graph):
        if node.domain not in _OPERATORS and (node.domain, node.op_type) not in own:
            raise ConvertError(
                f"{path} needs the operator {node.op_type} of {node.domain}, which ONNX Runtime does not have: export "
                "it with standard operators."
            )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those in the branches of others too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All constants: weights, and those in nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(inner)


def _data_file(path: Path, tensor: onnx.TensorProto) -> tuple[str, Path]:
    """The file beside the model that holds a weight. Raises ConvertError if it is missing, short, or elsewhere."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if not name or ".." in parts or PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor:
        raise ConvertError(f"{path} looks for its weights in {name!r}, outside of its folder: {_AGAIN}.")
    file = path.parent / name
    length = int(entries.get("offset") or 0) + _bytes_of(tensor)
    if not file.is_file():
        raise ConvertError(f"the weights of {path} lie in {file}, which is missing: download it too, beside the model.")
    if file.stat().st_size < length:
        raise ConvertError(f"{file} is shorter than {path} says, so it came only in part: download it again.")
    return name, file


def _bytes_of(tensor: onnx.TensorProto) -> int:
    kind: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims)) * kind.itemsize


def _check_values(path: Path, tensor: onnx.TensorProto) -> None:
    """Not a number is never meant; infinite values are, in masks."""
    if tensor.data_type not in _FLOATS:
        return
    try:
        values = numpy_helper.to_array(tensor, base_dir=str(path.parent))
    except Exception as error:  # whatever a damaged tensor makes the onnx package raise
        raise ConvertError(f"the weight {tensor.name} of {path} is damaged: {_AGAIN}.") from error
    if np.isnan(values).any():
        raise ConvertError(f"the weight {tensor.name} of {path} holds values that are no numbers (NaN): {_AGAIN}.")


def _digest_of(digests: list[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Gives values other names, wherever they stand."""
    for node in _nodes(graph):
        for ends in (node.input, node.output):
            for i, name in enumerate(ends):
                ends[i] = names.get(name, name)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)


def _entrance(
    source: str, kind: int, rows: Preprocessing, traits: Traits
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes and constants from `pixels` to the original's input `source`, which is of the type `kind`."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    now = "pixels"

    def step(operator: str, value: npt.NDArray[Any] | None = None, **attributes: Any) -> None:  # noqa: ANN401
        nonlocal now
        inputs, name = [now], f"engine/{len(nodes)}"
        if value is not None:
            constants.append(numpy_helper.from_array(value, f"{name}/value"))
            inputs.append(constants[-1].name)
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        now = name

    white = WHITE[rows.dtype]
    bgr = traits.colour == "bgr"
    step("Cast", to=TensorProto.FLOAT)
    if white != 255 or traits.range != "255":
        step("Div", np.float32(white if traits.range != "255" else white / 255) * np.ones((), np.float32))
    if bgr:
        step("Gather", np.array([2, 1, 0]), axis=3)
    if traits.range == "imagenet":
        order = slice(None, None, -1 if bgr else 1)
        step("Sub", np.array(_MEAN, np.float32)[order].copy())
        step("Div", np.array(_DEVIATION, np.float32)[order].copy())
    if traits.layout == "nchw":
        step("Transpose", perm=[0, 3, 1, 2])
    step("Cast", to=kind)
    nodes[-1].output[0] = source
    return nodes, constants
