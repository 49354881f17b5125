"""A receipt printer: a device or a file, or a printer that listens on a port of the network (9100 as a rule).

What it took is all that can be known: ESC/POS printers that listen answer nothing. A printer that does not take a slip
in time is an error, and who asked keeps the receipt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import trio

from receipts.code_pages import encode
from terminal.escpos import printed

PORT: Final = 9100
PRINT_S: Final = 5.0
SCHEME: Final = "tcp://"
AT_THE_DEVICE: Final = trio.CapacityLimiter(1)
"""A device that takes nothing holds its thread: no second one joins it, or they would add up to all that there are."""


@dataclass(frozen=True, slots=True)
class Printer:
    """Where slips go to; `page` is the printer's own number of the code page, where it is not Epson's."""

    path: Path | None = None
    host: str = ""
    port: int = PORT
    page: int | None = None

    @classmethod
    def named(cls, where: str, page: int | None = None) -> Self:
        """The printer at `tcp://HOST`, `tcp://HOST:PORT` or a path; raises ValueError."""
        if not where.startswith(SCHEME):
            return cls(path=Path(where), page=page)
        parts = urlsplit(where)
        if not parts.hostname or parts.path.strip("/"):
            raise ValueError("a printer is a file, a device or tcp://HOST:9100")
        return cls(host=parts.hostname, port=parts.port or PORT, page=page)

    async def put(self, lines: Sequence[str], code_page: int) -> None:
        """Print one slip and cut it; raises OSError where the printer does not take it, ValueError for no code page."""
        slip = printed(encode(lines, code_page), code_page, page=self.page)
        try:
            with trio.fail_after(PRINT_S):
                await self._send(slip)
        except (trio.TooSlowError, trio.BrokenResourceError) as error:
            raise OSError("the printer does not take the slip") from error

    async def _send(self, slip: bytes) -> None:
        if self.path is not None:
            await trio.to_thread.run_sync(_append, self.path, slip, abandon_on_cancel=True, limiter=AT_THE_DEVICE)
            return
        async with await trio.open_tcp_stream(self.host, self.port) as stream:
            await stream.send_all(slip)


def _append(path: Path, slip: bytes) -> None:
    with path.open("ab", buffering=0) as out:
        left = memoryview(slip)
        while left:
            left = left[out.write(left) or 0 :]
