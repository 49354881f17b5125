"""Moments as operators read them: in the issuer's zone, which receipts and booked days are in, with its offset.

All commands write them so, as text and as JSON: `2026-01-31T11:30:00+02:00` is unmistakable and sorts within a zone.
"""

import datetime as dt
from zoneinfo import ZoneInfo

from authsrv.shell.enrolment import issuer_row
from ledger.shell.door import Connection


class Zone:
    """The zone of an issuer."""

    def __init__(self, name: str) -> None:
        self._zone = ZoneInfo(name)

    def told(self, at: dt.datetime) -> str:
        """A moment to the second, such as 2026-01-31T11:30:00+02:00."""
        return at.astimezone(self._zone).isoformat(timespec="seconds")


async def issuer_zone(connection: Connection) -> Zone:
    """The zone of the issuer whose schema this is; raises EnrolmentError where nobody has said whose it is."""
    return Zone((await issuer_row(connection))["zone"])
