"""The help of the engine's own commands: plain text, a heading for each group of flags, one line a flag where it fits.

Plain, because typer's boxes need rich, which takes longer to load than most commands, and three times the lines.
"""

import textwrap
from typing import Any

from typer.core import TyperCommand

NAMED_ONLY = "More, explained in docs/settings.md"
"""The heading of flags that are named and not explained."""
COLUMN = 34
"""Characters for a flag and its value; longer ones have a line of their own."""
WIDTH = 120
"""Characters of a line at most, where the terminal is as wide."""


class GroupedCommand(TyperCommand):
    """A command whose options stand under the headings that `rich_help_panel` gives them; those without come first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own types are private
        """Write arguments and options, each group under its heading."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        last: list[str] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            heading = getattr(parameter, "rich_help_panel", None)
            if heading == NAMED_ONLY:
                last.append(parameter.opts[0])
            else:
                default = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(heading or default, []).append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=COLUMN)
        if last:
            with formatter.section(NAMED_ONLY):
                lines = textwrap.wrap(" ".join(last), formatter.width - 2, break_on_hyphens=False)
                formatter.write("".join(f"  {line}\n" for line in lines))
