"""What a receipt is made from.

The one who decided fills this in, and nobody else has to be asked: no clock, no database, no protocol. Results and
reasons are the numbers of the wire, so that this package knows nothing of it. `None` and `""` mean "not known or not
said here" and print nothing; 0 is an amount like any other and prints.

The repr shows none of the card, the amounts and the names: a receipt that fails to print must not put them into a log.
"""

import datetime as dt
from typing import Final, NamedTuple


class Counted(NamedTuple):
    """A kind of request in totals: how many the module counted and their sum, and the same of the switch."""

    kind: str  # "sale", "other"
    asked: int
    asked_total: int
    counted: int
    counted_total: int

    def __repr__(self) -> str:
        return f"<Counted {self.kind}>"


class ReceiptFacts:
    """All that can stand on a receipt; amounts are minor units of `currency`, date and time the issuer's local ones.

    A plain class, because one is made for every answer: compiled, it is made and read without a look-up.
    """

    def __init__(
        self,
        merchant: str,
        branch: str,
        module: int,
        date: dt.date,
        time: dt.time,
        command: str,
        result: int,
        reason: int,
        currency: str,
        exponent: int,
        programme: str = "",
        card: str = "",
        keyed: bool = False,
        requested: int | None = None,
        approved: int | None = None,
        still_due: int | None = None,
        balance: int | None = None,
        available: int | None = None,
        owed: int | None = None,
        valid_until: dt.date | None = None,
        authorization: str = "",
        original: str | None = None,
        cashier: int = 0,
        till_receipt: str = "",
        visits_left: int | None = None,
        due_on: dt.date | None = None,
        held_until: dt.datetime | None = None,
        new_card: str = "",
        totals: tuple[Counted, ...] = (),
        frozen_from: dt.date | None = None,
        frozen_until: dt.date | None = None,
        limit: int | None = None,
        interval: tuple[int, int] | None = None,
    ):
        self.merchant: Final = merchant
        self.branch: Final = branch
        self.module: Final = module
        self.date: Final = date
        self.time: Final = time
        self.command: Final = command  # "sale", "reverse": the name of the command in lower case
        self.result: Final = result
        self.reason: Final = reason
        self.currency: Final = currency  # ISO 4217, three letters; "" where amounts are numbers of visits
        self.exponent: Final = exponent  # how many digits of an amount are minor units
        self.programme: Final = programme
        self.card: Final = card  # the whole number may come in; only the last four digits leave
        self.keyed: Final = keyed  # the card's number was typed, not read
        self.requested: Final = requested
        self.approved: Final = approved
        self.still_due: Final = still_due
        self.balance: Final = balance
        self.available: Final = available  # printed where it differs from the balance
        self.owed: Final = owed  # printed where it is not zero
        self.valid_until: Final = valid_until  # valid through the end of this day
        self.authorization: Final = authorization
        self.original: Final = original  # the authorization number that was reversed or refunded
        self.cashier: Final = cashier  # 0: not said
        self.till_receipt: Final = till_receipt
        self.visits_left: Final = visits_left
        self.due_on: Final = due_on  # the first day on which something is to be paid
        self.held_until: Final = held_until  # the issuer's local time
        self.new_card: Final = new_card  # that takes the card's place; the whole number, as above
        self.totals: Final = totals
        self.frozen_from: Final = frozen_from  # a pass stands still from this day
        self.frozen_until: Final = frozen_until  # to the end of this one
        self.limit: Final = limit  # up to which a card may owe
        self.interval: Final = interval  # the first and the last sequence that totals are of

    def __repr__(self) -> str:
        return f"<ReceiptFacts {self.command} of {self.module}: {self.result:02}/{self.reason}>"
