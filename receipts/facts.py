"""What a receipt is made from.

The one who decided fills this in, and nobody else has to be asked: no clock, no database, no protocol. Results and
reasons are the numbers of the wire, so that this package knows nothing of it. `None` and `""` mean "not known or not
said here" and print nothing; 0 is an amount like any other and prints.

The repr shows none of the card, the amounts and the names: a receipt that fails to print must not put them into a log.
"""

import datetime as dt
from typing import NamedTuple


class ReceiptFacts(NamedTuple):
    """All that can stand on a receipt; amounts are minor units of `currency`, date and time the issuer's local ones."""

    merchant: str
    branch: str
    module: int
    date: dt.date
    time: dt.time
    command: str  # "sale", "reverse": the name of the command in lower case
    result: int
    reason: int
    currency: str  # ISO 4217, three letters
    exponent: int  # how many digits of an amount are minor units
    programme: str = ""
    card: str = ""  # the whole number may come in; only the last four digits leave
    keyed: bool = False  # the card's number was typed, not read
    requested: int | None = None
    approved: int | None = None
    still_due: int | None = None
    balance: int | None = None
    available: int | None = None  # printed where it differs from the balance
    owed: int | None = None  # printed where it is not zero
    valid_until: dt.date | None = None  # valid through the end of this day
    authorization: str = ""
    original: str | None = None  # the authorization number that was reversed or refunded
    cashier: int = 0  # 0: not said
    till_receipt: str = ""

    def __repr__(self) -> str:
        return f"<ReceiptFacts {self.command} of {self.module}: {self.result:02}/{self.reason}>"
