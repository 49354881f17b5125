"""How a till speaks with its cashier: on a real terminal with keys and colours, else line by line.

On a terminal, prompt_toolkit reads the keys, in a thread of its own, so that the module lives on behind a question. It
draws only the line that is being typed and takes it away when it is answered: what stays on the screen is what the till
says, which has no card number in it. Nothing that was typed is kept to be called up again.

Where the input is a pipe or the terminal can do nothing (`TERM=dumb`), a line is a line; a code is read without echo
there too, as far as there is an echo to turn off.
"""

import getpass
import io
import os
import sys
import termios
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import trio
from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.data_structures import Size
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import PasswordProcessor
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output

BACK: Final = "<"
ESC: Final = "\x1b"
ESCAPE_S: Final = 0.05  # an Esc that nothing follows for so long is the key, and no sequence of another one

GOOD: Final = "bold ansigreen"
BAD: Final = "bold ansired"
CARE: Final = "bold ansiyellow"
QUIET: Final = "ansicyan"
HEAD: Final = "bold"
PLAIN: Final = ""


@dataclass(frozen=True, slots=True, repr=False)
class Typed:
    """A line that was typed, and how long it took from its first sign to its Enter; None where nobody measured."""

    text: str
    took_s: float | None = None


class InputEndedError(Exception):
    """There is nobody any more who could answer."""


class Console(Protocol):
    """What a till needs of the place where it is used."""

    takes_away: bool
    """Whether a line that was typed is taken away when it is answered."""

    def say(self, text: str, style: str = PLAIN) -> None:
        """Show a line."""

    async def ask(self, prompt: str, *, secret: bool = False) -> Typed | None:
        """Ask for a line; None where the cashier wants to go back. Raises InputEndedError."""


class LineConsole:
    """Line by line, over whatever the standard input and output are."""

    takes_away = False

    def say(self, text: str, style: str = PLAIN) -> None:  # noqa: ARG002 - a line has no colour
        """Show a line."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    async def ask(self, prompt: str, *, secret: bool = False) -> Typed | None:
        """Ask for a line, `<` goes back."""
        text = await trio.to_thread.run_sync(self._read, f"{prompt}: ", secret, abandon_on_cancel=True)
        return None if text.strip() in (BACK, ESC) else Typed(text)

    @staticmethod
    def _read(prompt: str, secret: bool) -> str:
        if secret and sys.stdin.isatty():
            with suppress(EOFError):
                return getpass.getpass(prompt)
            raise InputEndedError
        sys.stdout.write(prompt)
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            raise InputEndedError
        if not sys.stdin.isatty():
            sys.stdout.write("\n")
        return line.rstrip("\r\n")


class KeyConsole:
    """A terminal with keys and colours."""

    takes_away = True

    def __init__(self) -> None:
        self._output = Vt100_Output(sys.stdout, _size, term=os.environ.get("TERM"), enable_cpr=False)
        self._colours = ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else ColorDepth.DEPTH_4_BIT
        self._asked: PromptSession[str | None] = PromptSession(
            history=DummyHistory(),
            key_bindings=_keys(),
            output=self._output,
            color_depth=self._colours,
            erase_when_done=True,
            interrupt_exception=InputEndedError,
            eof_exception=InputEndedError,
        )
        self._asked.app.ttimeoutlen = ESCAPE_S
        self._as_found = termios.tcgetattr(sys.stdin.fileno())

    def say(self, text: str, style: str = PLAIN) -> None:
        """Show a line in a colour."""
        shown = FormattedText([(style, text)])
        print_formatted_text(shown, output=self._output, color_depth=self._colours)

    async def ask(self, prompt: str, *, secret: bool = False) -> Typed | None:
        """Ask for a line, Esc and `<` go back."""
        try:
            return await trio.to_thread.run_sync(self._read, prompt, secret, abandon_on_cancel=True)
        except trio.Cancelled:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._as_found)
            raise

    def _read(self, prompt: str, secret: bool) -> Typed | None:
        began: list[float] = []
        buffer = self._asked.default_buffer

        def typed(_: object) -> None:
            if not began:
                began.append(time.monotonic())

        buffer.on_text_changed += typed
        self._asked.input_processors = [PasswordProcessor(char="")] if secret else []
        try:
            text = self._asked.prompt(
                FormattedText([(HEAD, f"{prompt}: ")]), handle_sigint=False, set_exception_handler=False
            )
        finally:
            buffer.on_text_changed -= typed
        if text is None or text.strip() == BACK:
            return None
        return Typed(text, time.monotonic() - began[0] if began else None)


def console(*, plain: bool = False) -> Console:
    """The console that fits where the program runs."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a letter that the terminal lacks must not end the till
    real = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    return KeyConsole() if real and not plain else LineConsole()


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", eager=True)
    def back(event: KeyPressEvent) -> None:
        event.app.exit(result=None)

    return keys


def _size() -> Size:
    columns, lines = os.get_terminal_size(sys.stdout.fileno())
    return Size(rows=lines or 24, columns=columns or 80)
