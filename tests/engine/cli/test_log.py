"""`--log-file`: what a run says stands there too, it does not grow for ever, and holds no secret."""

import logging
from pathlib import Path

import pytest

from engine.cli import log
from engine.cli.console import said, say
from engine.config import RunConfig
from engine.errors import ConfigError
from tests.support.media_server import MediaServer
from tests.support.runs import TOKEN, command, run


def test_a_run_writes_what_it_says(tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "engine.log"
    with MediaServer([(1, "gone.jpg")]) as server:
        ended = run(command(server, tiny_model, tmp_path, tmp_path / "s.db", "--quiet", "--log-file", str(file)))
    lines = [line.split(" ", 2)[2] for line in file.read_text(encoding="utf-8").splitlines()]
    assert lines == [f"INFO engine.said: {line}" for line in ended.stderr.splitlines()] and len(lines) > 3
    assert TOKEN not in file.read_text(encoding="utf-8")


@pytest.fixture
def handlers_as_before():
    loggers = [logging.getLogger(), said]
    before = [logger.handlers[:] for logger in loggers]
    yield
    for logger, handlers in zip(loggers, before, strict=True):
        for handler in set(logger.handlers) - set(handlers):
            handler.close()
        logger.handlers[:] = handlers


@pytest.mark.usefixtures("handlers_as_before")
def test_a_full_file_is_renamed_and_the_oldest_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LARGEST", 200)
    file = tmp_path / "engine.log"
    log.start_logging(RunConfig(log_file=file))
    for number in range(100):
        say(f"line {number} of a run that lasts for months")
    logging.getLogger("engine.api").warning("a warning")
    assert {path.name for path in tmp_path.iterdir()} == {"engine.log", *(f"engine.log.{n}" for n in range(1, 6))}
    assert all(path.stat().st_size <= 200 for path in tmp_path.iterdir())
    assert file.read_text(encoding="utf-8").endswith("WARNING engine.api: a warning\n")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the log file .* cannot be written \(.+\): name another with --log-file"):
        log.start_logging(RunConfig(log_file=tmp_path / "gone" / "engine.log"))
