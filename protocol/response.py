"""An answer as a frozen value, and the way between it and the 1,400 bytes that are recorded.

A value here is a plain tuple: an answer is made for every request, and a frozen dataclass of thirty fields costs ten
times as much to make.

The counter that a frame carries before them belongs to the session, not to the answer: a repeat in another session gets
the same bytes. A result or reason that this program does not know is kept as a number, because the switch may be newer
than the module. None of the values appears in a repr or an error.
"""

import datetime
from itertools import chain
from typing import Final, NamedTuple, Self

from protocol import forms
from protocol.codec import Codec, LayoutError
from protocol.forms import FormatError
from protocol.layout import RESPONSE, TOTALS_RESPONSE
from protocol.numbers import OWN, CodePage, Command, Reason, TotalsKind

RESULT_MAX: Final = 99

_IN_REPLY_TO_BYTES: Final = 8
_NO_COUNTER: Final = 0  # in_reply_to, which is no part of what is recorded
_NO_TOTALS: Final = ((0, 0),) * len(TotalsKind)
_TOTALS: Final = Command.TOTALS.value
_ANSWER = Codec(RESPONSE)
_TOTALS_ANSWER = Codec(TOTALS_RESPONSE)
_RESULT = slice(_ANSWER["result"].at - _IN_REPLY_TO_BYTES, _ANSWER["result"].end - _IN_REPLY_TO_BYTES)
_SHAPED = frozenset(
    ("authorization", "switch_date", "switch_time", "valid_until", "last_date", "text")  # not bare numbers in a value
)


class Taken(NamedTuple):
    """What was taken from where, in minor units; vouchers in the order of the request."""

    points: int = 0
    stored_value: int = 0
    credit: int = 0
    vouchers: tuple[int, int, int] = (0, 0, 0)

    def __repr__(self) -> str:
        return "<Taken>"


class Response(NamedTuple):
    """One answer. Command, flags, sequence, date and module are echoed as they came, so they are bare numbers."""

    command: int = 0
    flags: int = 0
    sequence: int = 0
    date: int = 0
    module: int = 0
    result: int = 0
    reason: int = 0
    unit: int = OWN
    pages: int = 0
    page: int = 0
    authorization: str = ""
    switch_date: datetime.date | None = None
    switch_time: datetime.time = datetime.time()
    approved: int = 0
    still_due: int = 0
    balance: int = 0
    available: int = 0
    discount: int = 0
    points_earned: int = 0
    points_balance: int = 0
    visits_left: int = 0
    valid_until: datetime.date | None = None
    issued_vouchers: tuple[str, str] = ("", "")
    code_page: CodePage = CodePage.ASCII
    columns: int = 0
    last_sequence: int = 0
    last_date: datetime.date | None = None
    taken: Taken = Taken()
    totals: tuple[tuple[int, int], ...] = ()  # (count, sum) by kind, of the command `totals` alone
    text: bytes = b""

    def __repr__(self) -> str:
        return f"<Response {self.result:02}/{self.reason} to {self.module}/{self.date}/{self.sequence}>"

    def encode(self) -> bytes:
        """The recorded answer's 1,400 bytes; raises ValueError if a value does not fit its field."""
        if not 0 <= self.result <= RESULT_MAX or len(self.authorization) not in (0, forms.AUTHORIZATION_DIGITS):
            raise ValueError("a result has two digits, an authorization number twelve")
        taken = self.taken
        row: tuple[int | bytes, ...] = (  # in the layout's order
            *(_NO_COUNTER, self.command, self.flags, self.sequence, self.date, self.module),
            *(self.result, self.reason, self.unit, self.pages, self.page),
            self.authorization.encode("ascii"),
            *(forms.date_number(self.switch_date), forms.time_number(self.switch_time)),
            *(self.approved, self.still_due, self.balance, self.available),
            *(self.discount, self.points_earned, self.points_balance, self.visits_left),
            forms.date_number(self.valid_until),
            *(self.issued_vouchers[0].encode("ascii"), self.issued_vouchers[1].encode("ascii")),
            *(len(self.text), self.code_page, self.columns, self.last_sequence),
            *(taken.points, taken.stored_value, taken.credit, *taken.vouchers),
            forms.date_number(self.last_date),
        )
        if self.command == _TOTALS or self.totals:
            row += tuple(chain.from_iterable(self.totals or _NO_TOTALS))
        return _answer_codec(self.command).pack_row((*row, self.text))[_IN_REPLY_TO_BYTES:]

    @classmethod
    def decode(cls, answer: bytes) -> Self:
        """Read a recorded answer from its 1,400 bytes.

        Raises FormatError if a number, a text or an unused byte is not as it must be, LayoutError on another length.
        """
        codec = _answer_codec(int.from_bytes(answer[: _ANSWER["command"].size]))
        if len(answer) != codec.size - _IN_REPLY_TO_BYTES:
            raise LayoutError(f"{codec.size - _IN_REPLY_TO_BYTES} bytes are needed, {len(answer)} came")
        try:
            raw = codec.unpack(bytes(_IN_REPLY_TO_BYTES) + answer)
        except LayoutError:
            raise FormatError(Reason.FIELD_FORBIDDEN, "unused") from None
        return cls(
            **{name: raw[name] for name in _PLAIN if name not in ("result", "code_page")},
            result=_result(raw["result"]),
            code_page=_code_page(raw["code_page"]),
            authorization=forms.authorization(raw["authorization"], "authorization"),
            switch_date=forms.optional_date(raw["switch_date"], "switch_date"),
            switch_time=forms.time(raw["switch_time"], "switch_time"),
            valid_until=forms.optional_date(raw["valid_until"], "valid_until"),
            issued_vouchers=(
                forms.text(raw["issued_voucher_1"], "issued_voucher_1"),
                forms.text(raw["issued_voucher_2"], "issued_voucher_2"),
            ),
            last_date=forms.optional_date(raw["last_date"], "last_date"),
            taken=Taken(
                forms.amount(raw["taken_points"], "taken_points"),
                forms.amount(raw["taken_stored_value"], "taken_stored_value"),
                forms.amount(raw["taken_credit"], "taken_credit"),
                (
                    forms.amount(raw["taken_voucher_1"], "taken_voucher_1"),
                    forms.amount(raw["taken_voucher_2"], "taken_voucher_2"),
                    forms.amount(raw["taken_voucher_3"], "taken_voucher_3"),
                ),
            ),
            totals=forms.read_pairs(raw) if codec is _TOTALS_ANSWER else (),
            text=_receipt(raw["text"], raw["text_length"]),
        )


def result_of(answer: bytes) -> int:
    """The result of a recorded answer, without reading the rest of it."""
    return int.from_bytes(answer[_RESULT])


# What goes to the wire as it stands.
_PLAIN: Final = tuple(name for name in Response._fields if name in _ANSWER.names and name not in _SHAPED)


def _answer_codec(command: int) -> Codec:
    return _TOTALS_ANSWER if command == _TOTALS else _ANSWER


def _result(number: int) -> int:
    if number > RESULT_MAX:
        raise FormatError(Reason.UNKNOWN_REASON, "result")
    return number


def _code_page(number: int) -> CodePage:
    try:
        return CodePage(number)
    except ValueError:
        raise FormatError(Reason.BAD_TEXT, "code_page") from None


def _receipt(raw: bytes, length: int) -> bytes:
    if length > len(raw) or raw[length:] != bytes(len(raw) - length):
        raise FormatError(Reason.BAD_TEXT, "text")
    return raw[:length]
