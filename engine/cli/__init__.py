"""The command line: a module a command."""


def main() -> None:
    """Entry point of the `engine` script."""
