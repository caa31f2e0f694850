"""`--format "{path}: {tags}"`: a line of a picture's tags, in the form that the user chose."""

import string
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from engine.errors import ConfigError
from engine.output.wording import RATING, Tag

_PATHS: Mapping[str, Callable[[Path, str], str]] = {
    "path": lambda path, given: given,
    "folder": lambda path, given: str(path.parent),
    "name": lambda path, given: path.name,
    "stem": lambda path, given: path.stem,
}
_USUAL = ("general", "character")
"""Categories that may be asked of any model, also of one that has none."""
SEPARATOR = ", "


class Template:
    """A text with fields in braces. `{{` and `}}` are braces, `\\n`, `\\t` and `\\\\` a new line, a tab, a backslash.

    {path} {folder} {name} {stem}       of the picture: as it was given; its folder; its name; without the suffix
    {tags}                              all tags but ratings, best first
    {general} {character} {meta} ...    those of one category of the model
    {rating}                            the best rating, without `rating:`
    {scores}                            as {tags}, each with its score: `1girl:0.987`

    What stands behind a colon separates the tags, by default `, `: `{tags: }`, `{scores:\\n}`.
    """

    def __init__(self, text: str, categories: Collection[str]) -> None:
        """`categories`: the model's, in any spelling.

        Raises:
            ConfigError: a brace is left open, or a field is unknown.
        """
        known = {name.casefold() for name in categories} - {"system", "rating"} | set(_USUAL)
        self.fields = (*_PATHS, "tags", "scores", "rating", *sorted(known))
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ConfigError(f"--format {text!r}: {error} (a brace itself is written twice)") from None
        self._parts: list[tuple[str, str | None, str]] = []
        for literal, name, separator, conversion in parts:
            if name is not None and (name not in self.fields or conversion):
                shown = name + (f"!{conversion}" if conversion else "")
                raise ConfigError(
                    f"--format has no field {{{shown}}}, only {', '.join(f'{{{field}}}' for field in self.fields)}"
                )
            if name in (*_PATHS, "rating") and separator:
                raise ConfigError(f"--format: {{{name}}} is one text, so there is nothing to separate by {separator!r}")
            self._parts.append((_unescaped(literal), name, _unescaped(separator or "") or SEPARATOR))

    def fill(self, path: str, tags: Sequence[Tag]) -> str:
        """The text of one picture.

        Args:
            path: as the user gave it.
            tags: best first; ratings among them begin with `rating:`.
        """
        return "".join(literal + self._value(name, separator, path, tags) for literal, name, separator in self._parts)

    def _value(self, name: str | None, separator: str, path: str, tags: Sequence[Tag]) -> str:
        if name is None:
            return ""
        if name in _PATHS:
            return _PATHS[name](Path(path), path)
        if name == "rating":
            return next((tag.key.removeprefix(RATING) for tag in tags if tag.is_rating), "")
        others = [tag for tag in tags if not tag.is_rating]
        if name == "scores":
            return separator.join(f"{tag.key}:{tag.score:.3f}" for tag in others)
        return separator.join(tag.key for tag in others if name in ("tags", tag.category.casefold()))


def _unescaped(text: str) -> str:
    parts = text.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\t", "\t") for part in parts)
