"""`engine doctor`: what a long run will need, checked before it."""

import typer


def register(app: typer.Typer) -> None:
    """Added with its issue."""
