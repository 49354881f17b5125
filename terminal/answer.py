"""What a till learns: an answer, or that there was none.

An approval and a decline are both answers. An exception is raised only where no recorded answer is known, and says what
was done about it. None of them shows a card number, a code or an amount in its repr or its message.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final, Self

from protocol.codec import LayoutError
from protocol.messages import FormatError, Request, RequestName, Response, date_number
from protocol.numbers import Result
from receipts.code_pages import codec
from receipts.receipt import merchant_copy

COLUMNS: Final = 42
"""How wide paper is taken to be where the switch did not say."""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Answer:
    """One answer; amounts in minor units of `unit`.

    `recorded` is page 1 as the switch keeps it, 1,400 bytes, the same for every repeat. `pages` are the receipt's
    texts; there are fewer than `pages_total` only if the others could not be fetched in time.
    """

    request: Request
    recorded: bytes
    result: int
    reason: int
    unit: int
    authorization: str
    approved_minor: int
    still_due_minor: int
    balance_minor: int
    available_minor: int
    visits_left: int
    valid_until: dt.date | None
    last_sequence: int
    pages_total: int
    pages: tuple[str, ...]

    def __repr__(self) -> str:
        name = self.request.name
        return f"<Answer {self.result:02}-{self.reason} to {name.module}/{name.date}/{name.sequence}>"

    @property
    def name(self) -> RequestName:
        """The name that it was recorded under."""
        return self.request.name

    @property
    def approved(self) -> bool:
        """Whether all or a part was approved."""
        return self.result in (Result.APPROVED, Result.PARTLY)

    @property
    def text(self) -> str:
        """The whole receipt, a line feed after each line."""
        return "".join(self.pages)

    @property
    def lines(self) -> tuple[str, ...]:
        """The receipt as the printer puts it on paper."""
        return tuple(self.text.splitlines())

    @property
    def decided_on(self) -> dt.date | None:
        """The day that the switch decided it on, in the issuer's zone; None where nothing was decided."""
        return Response.decode(self.recorded).switch_date

    @property
    def code_page(self) -> int:
        """The wire's number of the code page that the receipt was laid out for."""
        return Response.decode(self.recorded).code_page

    @property
    def columns(self) -> int:
        """How wide the receipt's paper is, in signs."""
        return Response.decode(self.recorded).columns or COLUMNS

    def merchant_copy(self, language: str = "en") -> tuple[str, ...]:
        """The receipt once more, as the shop keeps it: with a mark and a line for the signature.

        Args:
            language: of the mark and of what stands below the line.

        Raises:
            ValueError: a language that there are no texts in, or a receipt that was not approved.

        """
        if not self.approved:
            raise ValueError("what was not approved is not signed")
        page = Response.decode(self.recorded)
        text = merchant_copy(self.text.encode(codec(page.code_page)), language, self.columns, page.code_page)
        return tuple(text.decode(codec(page.code_page)).splitlines())

    @classmethod
    def read(cls, request: Request, recorded: bytes) -> Self | None:
        """Read the answer to a request; None if these bytes do not answer it, which no honest switch does."""
        try:
            response = Response.decode(recorded)
        except (FormatError, LayoutError):
            return None
        echoed = (response.command, response.module, response.sequence, response.date)
        if echoed != (request.command, request.module, request.sequence, date_number(request.date)):
            return None
        return cls(
            request=request,
            recorded=recorded,
            result=response.result,
            reason=response.reason,
            unit=response.unit,
            authorization=response.authorization,
            approved_minor=response.approved,
            still_due_minor=response.still_due,
            balance_minor=response.balance,
            available_minor=response.available,
            visits_left=response.visits_left,
            valid_until=response.valid_until,
            last_sequence=response.last_sequence,
            pages_total=response.pages,
            pages=(response.text.decode(codec(response.code_page), errors="replace"),),
        )


class NoAnswerError(Exception):
    """No recorded answer came before the deadline.

    `name` is None, and nothing was sent, if the module could not even sign on. `sent` says whether a copy has left;
    where one has, the name is settled in the background. `reversal` is the recorded answer to the automatic reversal,
    or None if that is not recorded yet or the request is not one to be reversed. `refused` says that the switch was
    reached and would have no session of this module, for which the wire gives no reason.
    """

    def __init__(self, name: RequestName | None, *, sent: bool, reversal: Answer | None = None, refused: bool = False):
        self.name = name
        self.refused = refused
        self.sent = sent
        self.reversal = reversal
        called = f"{name.module}/{name.date}/{name.sequence}" if name else "the request"
        if not sent and refused:
            fate = (
                "was not sent: the switch refuses this module; it may be revoked, its key may have been ended or"
                " replaced, or the switch has no room: ask who runs it"
            )
        elif not sent:
            fate = "was not sent: the switch could not be reached"
        elif reversal is None:
            fate = "got no answer in time; whether it was recorded is not known yet"
        else:
            fate = "got no answer and was reversed" if reversal.approved else "got no answer; its reversal was declined"
        super().__init__(f"{called} {fate}")


class OpenNamesError(Exception):
    """Requests have no recorded answer yet, so that what was moved cannot be counted; nothing was sent."""


class TooManyOpenError(Exception):
    """As many requests as the module may remember have no recorded answer yet, or no receipt: nothing was sent."""


class UnsettledError(Exception):
    """The module was left while requests had no recorded answer; `names` are theirs."""

    def __init__(self, names: tuple[RequestName, ...]):
        self.names = names
        super().__init__("no recorded answer yet to " + ", ".join(f"{n.module}/{n.date}/{n.sequence}" for n in names))
