"""What is to be converted: an ONNX file, its tags, and how its pictures are to be made."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convert.errors import ConvertError
from convert.taggers.tags import Tags, read_tags
from engine.families import FAMILIES, Traits
from engine.families.traits import CHOICES
from engine.types import Preprocessing

if TYPE_CHECKING:
    from convert.taggers.graph import Graph

ANY = "onnx"
"""The family of what flags describe."""


@dataclass(frozen=True, slots=True)
class TaggerOptions:
    """What the flags of `engine convert` say; None where one is not given.

    Attributes:
        tags: a list of tags.
        layout, colour, range, pad, interpolation: traits, see `engine.families.traits.Traits`.
        logits: the model gives logits.
        size: the side of the canvas, for a model that takes pictures of any size.
    """

    tags: Path | None = None
    layout: str | None = None
    colour: str | None = None
    range: str | None = None
    pad: str | None = None
    interpolation: str | None = None
    logits: bool | None = None
    size: int | None = None

    def traits(self) -> dict[str, str | bool]:
        """Those traits that are given."""
        return {
            name: str(value) if isinstance(value, str) else value
            for name, value in asdict(self).items()
            if value is not None and name not in ("tags", "size")
        }

    @property
    def given(self) -> list[str]:
        """The flags that only an ONNX tagger takes, of those that are given."""
        return [f"--{name}" for name, value in asdict(self).items() if value is not None and name != "tags"]


@dataclass(frozen=True, slots=True)
class Source:
    """An ONNX tagger as it was found.

    Attributes:
        model: the ONNX file.
        kind: its family.
        traits: the family's, with what the flags change.
        changes: what is different from the family, for the manifest.
        tags: in the order of the model's outputs.
    """

    model: Path
    kind: str
    traits: Traits
    changes: dict[str, str | bool]
    tags: Tags


def is_tagger(path: Path) -> bool:
    """Whether a path is an ONNX file, or a folder with one and without a Keras project."""
    if path.is_dir():
        return not (path / "project.json").exists() and any(path.glob("*.onnx"))
    return path.suffix.lower() == ".onnx"


def find_source(path: Path, options: TaggerOptions) -> Source:
    """Looks for the model, its family and its tags. Raises ConvertError with the way out."""
    model = model_file(path)
    kind = _family(model) if options.tags is None else ANY
    traits = FAMILIES[kind]
    changes = {k: v for k, v in options.traits().items() if kind == ANY or v != getattr(traits, k)}
    if options.tags is not None:
        tags = read_tags(options.tags, published=False)
    else:
        assert traits.files is not None  # noqa: S101 - _family looks for them
        tags = read_tags(model.with_name(traits.files[1]), published=True)
    return Source(model, kind, replace(traits, **changes), changes, tags)  # type: ignore[arg-type]


def as_graph(source: Source, graph: "Graph", options: TaggerOptions) -> Source:
    """The same with the layout that the graph's own shape tells, where no flag does. Raises ConvertError."""
    layout = source.traits.layout
    if graph.layout in (None, layout):
        return source
    if options.layout is None and source.kind == ANY:
        changes = source.changes | {"layout": graph.layout}
        return replace(source, traits=replace(source.traits, layout=graph.layout), changes=changes)  # type: ignore[arg-type]
    raise ConvertError(
        f"{source.model} takes pictures as {graph.layout} and not as {layout}: give --layout {graph.layout}."
    )


def rows_for(source: Source, graph: "Graph", options: TaggerOptions) -> Preprocessing:
    """The rows that the model takes. Raises ConvertError if its size is not known, or is another."""
    nchw = source.traits.layout == "nchw"
    sides = graph.dims[2:] if nchw else graph.dims[1:3]
    if any(side not in (None, options.size) for side in sides) and options.size:
        shown = "x".join(str(side or "?") for side in sides)
        raise ConvertError(f"{source.model} takes pictures of {shown} pixels: leave --size away.")
    height, width = (side or options.size for side in sides)
    if height is None or width is None:
        raise ConvertError(f"{source.model} takes pictures of any size: say by --size which one it was trained on.")
    changes = source.changes
    if source.kind == ANY:  # all of it, so that the manifest says what no family does
        changes = {name: getattr(source.traits, name) for name in CHOICES}
    return Preprocessing(source.kind, height, width, source.traits.dtype, tuple(changes.items()))


def model_file(path: Path) -> Path:
    """The ONNX file: the path itself, or the only one in a folder, or the one with the usual name."""
    if not path.is_dir():
        if path.is_file():
            return path
        raise ConvertError(f"there is no file {path}: name the ONNX file, or the folder that holds it.")
    found = sorted(path.glob("*.onnx"))
    usual = [file for file in found if file.name == "model.onnx"]
    if len(usual or found) != 1:
        raise ConvertError(f"{path} holds {len(found)} ONNX files: name the one to convert.")
    return (usual or found)[0]


def _family(model: Path) -> str:
    for name, traits in FAMILIES.items():
        if traits.files and model.with_name(traits.files[1]).is_file():
            return name
    names = " or ".join(traits.files[1] for traits in FAMILIES.values() if traits.files)
    raise ConvertError(f"beside {model} lies no {names}: take it from the model's release, or name its tags by --tags.")
