"""EhTagTranslation's `db.text.json`: Chinese names for the tags of another gallery, by namespace."""

from typing import Any

from service.dictionary.concepts import Kind, Name
from service.dictionary.imports.rows import Row, Rows, wrong
from service.dictionary.imports.texts import parsed

_CATEGORIES = {
    "artist": "artist",
    "character": "character",
    "female": "general",
    "male": "general",
    "mixed": "general",
    "other": "general",
    "parody": "copyright",
}
"""Its other namespaces name no tags of pictures."""


def translations(text: str, file: str) -> Rows:
    """Names for tags that are known; keys have blanks there."""
    for space in parsed(text, file)["data"]:
        if not isinstance(space, dict) or not isinstance(space.get("data"), dict):
            raise wrong(file, 1, 1, "`data` must be a list of {namespace, data}")
        category = _CATEGORIES.get(str(space.get("namespace")))
        if category is None:
            continue
        for key, about in space["data"].items():
            yield Row(
                key=key,
                place=f"{file}, {space['namespace']}:{key}",
                names=tuple(_names(about, file, f"{space['namespace']}:{key}")),
                creates=False,
            )


def _names(about: Any, file: str, key: str) -> list[Name]:  # noqa: ANN401 - JSON
    name = about.get("name") if isinstance(about, dict) else None
    if not isinstance(name, str):
        raise wrong(file, 1, 1, f"{key} has no name")
    parts = [part.strip() for part in name.split("|") if part.strip()]
    return [Name(part, "zh-Hans", Kind.SYNONYM if place else Kind.DISPLAY) for place, part in enumerate(parts)]
