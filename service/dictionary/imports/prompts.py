"""prompt-all-in-one's YAML: groups of groups of tags, each with Chinese names."""

from collections.abc import Iterator
from typing import Any

from service.dictionary.concepts import Kind, Name
from service.dictionary.imports.rows import GroupRow, Row, Rows, wrong


def groups(text: str, file: str) -> Rows:
    """Groups, and names for tags that are known; `|` divides names."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise wrong(file, line, column, f"this is no YAML ({error.problem})") from None
    except yaml.YAMLError as error:
        raise wrong(file, 1, 1, f"this is no YAML ({str(error).splitlines()[0]})") from None
    except RecursionError:
        raise wrong(file, 1, 1, "this is nested too deep") from None
    for outer in _sequence(root, file):
        path = _named(outer, file)
        yield GroupRow(path, {"zh-Hans": path}, _at(outer, file))
        for inner in _sequence(_value(outer, "groups", file), file):
            deep = f"{path}/{_named(inner, file)}"
            yield GroupRow(deep, {"zh-Hans": deep.partition("/")[2]}, _at(inner, file))
            yield from _tags(_value(inner, "tags", file), deep, file)


def _tags(node: Any, path: str, file: str) -> Iterator[Row]:  # noqa: ANN401 - YAML's nodes have no types
    import yaml

    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, file, "`tags` must be `tag: name` lines")
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise _wrong(key, file, "a tag must be a line `tag: name`")
        names = [name.strip() for name in value.value.split("|") if name.strip()]
        yield Row(
            key=key.value,
            place=_at(key, file),
            names=tuple(Name(n, "zh-Hans", Kind.SYNONYM if i else Kind.DISPLAY) for i, n in enumerate(names)),
            groups=(path,),
            creates=False,
        )


def _sequence(node: Any, file: str) -> list[Any]:  # noqa: ANN401 - YAML's nodes have no types
    import yaml

    if not isinstance(node, yaml.SequenceNode):
        raise _wrong(node, file, "here must be a list of groups")
    return list(node.value)


def _value(node: Any, name: str, file: str) -> Any:  # noqa: ANN401 - YAML's nodes have no types
    import yaml

    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    for key, value in pairs:
        if key.value == name:
            return value
    raise _wrong(node, file, f"a group has no {name!r}")


def _named(node: Any, file: str) -> str:  # noqa: ANN401 - YAML's nodes have no types
    name = str(_value(node, "name", file).value).replace("/", "／").strip()
    if not name:
        raise _wrong(node, file, "a group's name is empty")
    return name


def _wrong(node: Any, file: str, trouble: str) -> Exception:  # noqa: ANN401 - YAML's nodes have no types
    mark = getattr(node, "start_mark", None)
    return wrong(file, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1, trouble)


def _at(node: Any, file: str) -> str:  # noqa: ANN401 - YAML's nodes have no types
    return f"{file}, line {node.start_mark.line + 1}"
