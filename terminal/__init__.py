"""What a till or hardware module does: as a library here, as a program in `python -m terminal`."""

from terminal.answer import Answer, NoAnswerError, OpenNamesError, TooManyOpenError, UnsettledError
from terminal.pending import PendingError
from terminal.settings import Settings
from terminal.shell.client import Link, Module, connect, open_link, open_link_over
from terminal.shell.pending_file import PendingFile
from terminal.shell.sequence import Sequence

__all__ = [
    "Answer",
    "Link",
    "Module",
    "NoAnswerError",
    "OpenNamesError",
    "PendingError",
    "PendingFile",
    "Sequence",
    "Settings",
    "TooManyOpenError",
    "UnsettledError",
    "connect",
    "open_link",
    "open_link_over",
]
