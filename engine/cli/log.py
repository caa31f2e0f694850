"""Where warnings go: to stderr, and with `--log-file`, beside all that a run says, to a file of limited size."""

import logging
from logging.handlers import RotatingFileHandler

from engine.cli.console import log_to_stderr, said
from engine.config import MB, RunConfig
from engine.errors import ConfigError

LARGEST = 10 * MB
"""Bytes after which the file is renamed to .1, .1 to .2 and so on, and a new one begun."""
KEPT = 5


def start_logging(settings: RunConfig) -> None:
    """Log to stderr, and to the file of the settings. Raises `ConfigError` if that cannot be written."""
    log_to_stderr(settings.verbose)
    if settings.log_file is None:
        return
    try:
        file = RotatingFileHandler(settings.log_file, maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the log file {settings.log_file} cannot be written ({error.strerror}): name another with --log-file"
        ) from None
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for logger in (logging.getLogger(), said):
        logger.addHandler(file)
