"""What a receipt is made from.

The one who decided fills this in, and nobody else has to be asked: no clock, no database, no protocol. Results and
reasons are the numbers of the wire, so that this package knows nothing of it. `None` and `""` mean "not known or not
said here" and print nothing; 0 is an amount like any other and prints.

The repr shows none of the card, the amounts and the names: a receipt that fails to print must not put them into a log.
"""

import datetime as dt
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptFacts:
    """All that can stand on a receipt; amounts are minor units of `currency`, date and time the issuer's local ones."""

    merchant: str = field(repr=False)
    branch: str = field(repr=False)
    module: int
    date: dt.date
    time: dt.time
    command: str  # "sale", "reverse": the name of the command in lower case
    result: int
    reason: int
    currency: str  # ISO 4217, three letters
    exponent: int  # how many digits of an amount are minor units
    programme: str = field(default="", repr=False)
    card: str = field(default="", repr=False)  # the whole number may come in; only the last four digits leave
    keyed: bool = False  # the card's number was typed, not read
    requested: int | None = field(default=None, repr=False)
    approved: int | None = field(default=None, repr=False)
    still_due: int | None = field(default=None, repr=False)
    balance: int | None = field(default=None, repr=False)
    available: int | None = field(default=None, repr=False)  # printed where it differs from the balance
    owed: int | None = field(default=None, repr=False)  # printed where it is not zero
    valid_until: dt.date | None = None  # valid through the end of this day
    authorization: str = field(default="", repr=False)
    original: str | None = field(default=None, repr=False)  # the authorization number that was reversed or refunded
    cashier: int = 0  # 0: not said
    till_receipt: str = field(default="", repr=False)
