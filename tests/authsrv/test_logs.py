"""Logs: one line an event, in both forms, and nothing in it that must not leave."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from authsrv.shell.logs import LogFormat, LogLevel, configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

CARD = "6371120000000000017"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The process's logging is put back after each test."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_library_and_our_own_write_alike(capsys: pytest.CaptureFixture[str]) -> None:
    """As key=value: time, level, event, and who said it."""
    configure_logs(LogFormat.KEY_VALUE, LogLevel.INFO)
    logging.getLogger("ledger.shell.door").warning("%d connections", 3)
    structlog.get_logger("authsrv").info("listening", port=7411)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("at=")
    assert 'level=warning event="3 connections" logger=ledger.shell.door' in first
    assert "level=info event=listening" in second
    assert "port=7411" in second


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """For whoever collects them."""
    configure_logs(LogFormat.JSON, LogLevel.INFO)
    logging.getLogger("authsrv").info("two\nlines")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "two\nlines"


def test_the_level_keeps_lesser_events_away(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of libraries too."""
    configure_logs(LogFormat.JSON, LogLevel.WARNING)
    logging.getLogger("authsrv").info("a")
    structlog.get_logger("authsrv").info("b")
    assert capsys.readouterr().err == ""


def fail(text: str) -> None:
    """Raise what a log must not repeat."""
    raise ValueError(text)


@pytest.mark.parametrize("log_format", list(LogFormat))
def test_an_exception_tells_its_type_and_its_way_alone(
    capsys: pytest.CaptureFixture[str], log_format: LogFormat
) -> None:
    """Its text may quote a code or an amount."""
    configure_logs(log_format, LogLevel.INFO)
    try:
        fail("the code 4321 is wrong")
    except ValueError:
        logging.getLogger("authsrv").exception("a batch failed")
        structlog.get_logger("authsrv").exception("a batch failed")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "ValueError at test_logs.py:" in line
        assert "4321" not in line


def test_what_could_be_a_card_number_is_blotted_out(capsys: pytest.CaptureFixture[str]) -> None:
    """As text, as a number, as a value of an event; a module's number is left."""
    configure_logs(LogFormat.KEY_VALUE, LogLevel.INFO)
    logging.getLogger("authsrv").info("card %s of module %d", CARD, 4294967295)
    structlog.get_logger("authsrv").info("card", number=int(CARD), names=[CARD], module=4294967295)
    shown = capsys.readouterr().err
    assert CARD not in shown
    assert shown.count("4294967295") == 2
