"""The command line: a module a command, all of them listed in `commands.py`. Nothing below imports from here."""

from engine.cli.interrupts import end_now, handle


def main() -> None:
    """Entry point of the `engine` script. Nothing that takes time is imported before Ctrl-C is taken care of."""
    handle(end_now)
    from engine.cli.group import call

    call()
