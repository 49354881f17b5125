"""Logs: events on stderr, as key=value or as JSON lines, whoever wrote them.

Every logger of the process ends in the one handler that is set here, ours and those of the libraries. The last word on
what may leave (law 6) is spoken here too: an exception is told by its type and the places that it passed, since its
text may quote anything, and a run of digits as long as a card number is blotted out.
"""

import logging
import re
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_LONG_NUMBER: Final = re.compile(r"\d{11,}")  # a module's number has 10 digits at most
_FRAMES_MAX: Final = 6


class LogFormat(StrEnum):
    """How an event is written."""

    KEY_VALUE = "key-value"
    JSON = "json"


class LogLevel(StrEnum):
    """The least grave events that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure_logs(log_format: LogFormat, level: LogLevel) -> None:
    """Send the events of all loggers to stderr; to be called once, before the first event."""
    match log_format:
        case LogFormat.KEY_VALUE:
            render: Processor = structlog.processors.LogfmtRenderer(key_order=["at", "level", "event"])
        case LogFormat.JSON:
            render = structlog.processors.JSONRenderer(sort_keys=True)
    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                tell_exception,
                blot_numbers,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each statement's context
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def tell_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put the type of an exception and where it passed in place of its text."""
    told = event.pop("exc_info", None)
    event.pop("exception", None)
    error = sys.exception() if told is True else told[1] if isinstance(told, tuple) else told
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
        places = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
        event["fault"] = f"{type(error).__name__} at {places}"
    return event


def blot_numbers(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blot out what could be a card number."""
    return {key: _blotted(value) for key, value in event.items()}


def _blotted(value: Any) -> Any:
    if isinstance(value, bool | None | float):
        return value
    text = str(value)
    return _LONG_NUMBER.sub("#", text) if _LONG_NUMBER.search(text) else value
