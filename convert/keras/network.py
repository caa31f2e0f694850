"""Keras' description of a model -> layers in the order in which they are computed.

Three generations of the format are read: Sequential, the lists of Keras 2 (`[[["conv", 0, 0, {}]]]`) and the dicts of
Keras 3 (`[{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["conv", 0, 0]}}], ...}]`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

from convert.errors import ConvertError, UnknownLayer

Json = Any
"""Whatever json.loads gives."""
Config = Mapping[str, Json]
_MODELS = ("Functional", "Model", "Sequential")


@dataclass(frozen=True, slots=True)
class Layer:
    """One call of one Keras layer.

    Attributes:
        name: unique in the model.
        kind: Keras' class name.
        config: the layer's settings.
        inputs: names of the layers it takes its inputs from.
    """

    name: str
    kind: str
    config: Config
    inputs: tuple[str, ...]

    @property
    def activation(self) -> str:
        """The name of the layer's activation; `linear` if it has none."""
        value = self.config.get("activation")
        if isinstance(value, Mapping):  # newer Keras: {"class_name": "function", "config": "relu", ...}
            value = value.get("config") if isinstance(value.get("config"), str) else value.get("class_name")
        return "linear" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Network:
    """A model with one input and one output.

    Attributes:
        layers: those that the output depends on, each after its inputs.
        output: name of the last layer.
    """

    layers: tuple[Layer, ...]
    output: str

    def consumers(self) -> Counter[str]:
        """How many inputs each layer feeds."""
        return Counter(name for layer in self.layers for name in layer.inputs)


def parse_network(path: Path, model: Config) -> Network:
    """Raises ConvertError for what no graph with one input, one output and plain layers can express."""
    kind, config = model["class_name"], model["config"]
    if kind not in _MODELS:
        raise UnknownLayer(f"{path}: the model is a {kind}, not a Sequential or functional Keras model.")
    entries = _entries(model)
    for entry in entries:
        if entry["class_name"] in _MODELS:
            raise UnknownLayer(f"{path}: layer {_name(entry)} is itself a model: flatten it before saving.")
    layers, output = _sequential(entries) if kind == "Sequential" else _functional(path, config, entries)
    ordered = _in_order(path, {layer.name: layer for layer in layers}, output)
    inputs = [layer.name for layer in ordered if layer.kind == "InputLayer"]
    if len(inputs) != 1:
        raise ConvertError(f"{path}: the model has {len(inputs)} inputs, the engine feeds one picture.")
    return Network(ordered, output)


def declared_input(config: Config) -> tuple[int | None, ...]:
    """What a layer's configuration says of the model's input: (None, height, width, channels), None for any."""
    declared = config.get("batch_input_shape") or config.get("batch_shape")
    return tuple(declared) if declared else (None,) * 4


def input_size(model: Config) -> tuple[int, int] | None:
    """Height and width that the model was built for; None if it takes any, or is no model of pictures."""
    for entry in _entries(model):
        shape = declared_input(entry["config"])
        if len(shape) == 4 and isinstance(shape[1], int) and isinstance(shape[2], int):
            return shape[1], shape[2]
    return None


def layer_names(model: Config) -> list[str]:
    """The names of all layers, in the file's order."""
    return [_name(entry) for entry in _entries(model)]


def _entries(model: Config) -> list[Config]:
    config = model["config"]
    return list(config if isinstance(config, list) else config["layers"])  # early Keras: a Sequential is a mere list


def _name(entry: Config) -> str:
    return str(entry.get("name") or entry["config"]["name"])


def _kind(entry: Config) -> str:
    """The class, with its module where that is not Keras' own layers: Keras 3 has an operation Multiply, too."""
    module = entry.get("module") or "keras.layers"
    return str(entry["class_name"] if module == "keras.layers" else f"{module}.{entry['class_name']}")


def _sequential(entries: list[Config]) -> tuple[list[Layer], str]:
    layers = [Layer(_name(entry), _kind(entry), entry["config"], ()) for entry in entries]
    if layers[0].kind != "InputLayer":
        layers.insert(0, Layer("sequential/input", "InputLayer", layers[0].config, ()))
    chain = [layers[0]]
    chain += [Layer(b.name, b.kind, b.config, (a.name,)) for a, b in pairwise(layers)]
    return chain, chain[-1].name


def _functional(path: Path, config: Config, entries: list[Config]) -> tuple[list[Layer], str]:
    outputs = _endpoints(config["output_layers"])
    if len(outputs) != 1:
        raise ConvertError(f"{path}: the model has {len(outputs)} outputs, the engine reads one score for each tag.")
    layers = [Layer(_name(e), _kind(e), e["config"], _inputs(path, e)) for e in entries]
    return layers, outputs[0]


def _endpoints(value: Json) -> list[str]:
    """Names out of `[["a", 0, 0], ...]` or, for a single one in Keras 3, `["a", 0, 0]`."""
    if value and isinstance(value[0], str):
        value = [value]
    return [str(endpoint[0]) for endpoint in value]


def _inputs(path: Path, entry: Config) -> tuple[str, ...]:
    calls = entry["inbound_nodes"]
    if len(calls) > 1:
        raise UnknownLayer(f"{path}: layer {_name(entry)} is used {len(calls)} times: shared layers are not supported.")
    found = [source for call in calls for source in _sources(call)]
    for source, node, tensor in found:
        if node or tensor:
            raise UnknownLayer(f"{path}: layer {_name(entry)} takes output {node}/{tensor} of {source}: not supported.")
    if any(isinstance(options, Mapping) and options.get("training") for options in _options(calls)):
        raise ConvertError(f"{path}: layer {_name(entry)} was called with training=True: build it without, then save.")
    return tuple(source for source, _, _ in found)


def _sources(value: Json) -> Iterator[tuple[str, int, int]]:
    """Every tensor named in a call, in order: (layer, which call of it, which of its outputs)."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            layer, node, tensor = value["config"]["keras_history"]
            yield str(layer), int(node), int(tensor)
        else:
            for item in value.values():
                yield from _sources(item)
    elif isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
            yield value[0], value[1], int(value[2])
            value = value[3:]  # tensors among the keyword arguments
        for item in value:
            yield from _sources(item)


def _options(calls: list[Any]) -> Iterator[Any]:
    for call in calls:
        if isinstance(call, Mapping):
            yield call.get("kwargs")
        else:
            yield from (source[3] for source in call if isinstance(source, list) and len(source) > 3)


def _in_order(path: Path, layers: dict[str, Layer], output: str) -> tuple[Layer, ...]:
    needed: dict[str, tuple[str, ...]] = {}
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            if name not in layers:
                raise ConvertError(f"{path}: layer {name} is used but not described: save the model again.")
            needed[name] = layers[name].inputs
            waiting.extend(layers[name].inputs)
    try:
        return tuple(layers[name] for name in TopologicalSorter(needed).static_order())
    except CycleError as error:
        raise ConvertError(f"{path}: its layers form a circle: save the model again.") from error
