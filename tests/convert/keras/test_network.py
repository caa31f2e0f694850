"""Descriptions of models that are no graph of plain layers with one input and one output."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.convert.projects import edit_config, layer, model_of

pytestmark = pytest.mark.usefixtures("no_child_process")


def shared(config: dict[str, Any]) -> None:
    entry = layer(config, "Conv2D")
    entry["inbound_nodes"] *= 2


def two_inputs(config: dict[str, Any]) -> None:
    second = json.loads(json.dumps(layer(config, "InputLayer")))
    second["name"] = second["config"]["name"] = "input_2"
    config["config"]["layers"].append(second)
    layer(config, "Add")["inbound_nodes"][0].append(["input_2", 0, 0, {}])


def two_outputs(config: dict[str, Any]) -> None:
    config["config"]["output_layers"] *= 2


def nested(config: dict[str, Any]) -> None:
    layer(config, "Conv2D")["class_name"] = "Functional"


def circle(config: dict[str, Any]) -> None:
    layer(config, "Conv2D")["inbound_nodes"] = [[[layer(config, "Add")["name"], 0, 0, {}]]]


def deep(config: dict[str, Any]) -> None:
    value: list[Any] = []
    for _ in range(900):
        value = [value]
    layer(config, "Conv2D")["inbound_nodes"] = value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (shared, "used 2 times"),
        (two_inputs, "2 inputs"),
        (two_outputs, "2 outputs"),
        (nested, "itself a model"),
        (circle, "circle"),
        (deep, "model-small.h5"),
    ],
)
def test_graphs_that_cannot_be_expressed(
    project: Path, refused: Callable[..., str], change: Callable[[dict[str, Any]], None], says: str
) -> None:
    edit_config(model_of(project), change)
    said = refused(project)
    assert says in said
    assert said.count(str(model_of(project))) == 1
