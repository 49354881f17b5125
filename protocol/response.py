"""An answer as a frozen value, and the way between it and the 1,400 bytes that are recorded.

The counter that a frame carries before them belongs to the session, not to the answer: a repeat in another session gets
the same bytes. A result or reason that this program does not know is kept as a number, because the switch may be newer
than the module. None of the values appears in a repr or an error.
"""

import datetime
import struct
from functools import lru_cache
from typing import Final, NamedTuple, Self

from protocol import forms
from protocol.codec import Codec, LayoutError
from protocol.forms import FormatError
from protocol.layout import RESPONSE, TEXT_BYTES, TOTALS_RESPONSE, VOUCHER_BYTES
from protocol.numbers import OWN, CodePage, Command, Reason

RESULT_MAX: Final = 99

_IN_REPLY_TO_BYTES: Final = 8
_DAYS_KEPT: Final = 4096
_SECONDS_KEPT: Final = 4096
_ANSWER = Codec(RESPONSE)
_RECORDED = struct.Struct(">" + "".join(field.form for field in _ANSWER.fields[1:]))  # without what a frame puts first
_TOTALS_ANSWER = Codec(TOTALS_RESPONSE)
_RESULT = slice(_ANSWER["result"].at - _IN_REPLY_TO_BYTES, _ANSWER["result"].end - _IN_REPLY_TO_BYTES)
_SET_NOW: Final = (
    "command", "flags", "sequence", "date", "module", "result", "reason", "unit", "pages", "page", "authorization",
    "switch_date", "switch_time", "approved", "still_due", "balance", "available", "visits_left", "valid_until",
    "text_length",
    "code_page", "columns",
)  # fmt: skip
_HEAD_NOW = struct.Struct(
    ">" + "".join(field.form if field.name in _SET_NOW else f"{field.size}x" for field in _ANSWER.fields[1:-1])
)
_TOTALS: Final = Command.TOTALS.value
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
    """One answer, field by field in the order of the layout. What is echoed as it came is bare numbers.

    A tuple, because one is made for every request.
    """

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
    taken: Taken = Taken()
    last_date: datetime.date | None = None
    totals: tuple[tuple[int, int], ...] = ()  # (count, sum) by kind, of the command `totals` alone
    text: bytes = b""

    def __repr__(self) -> str:
        return f"<Response {self.result:02}/{self.reason} to {self.module}/{self.date}/{self.sequence}>"

    def encode(self) -> bytes:
        """The recorded answer's 1,400 bytes; raises ValueError if a value does not fit its field."""
        if not 0 <= self.result <= RESULT_MAX or len(self.authorization) not in (0, forms.AUTHORIZATION_DIGITS):
            raise ValueError("a result has two digits, an authorization number twelve")
        if self.totals or self.command == Command.TOTALS:
            return self._with_totals()
        if len(self.text) > TEXT_BYTES or any(len(code) > VOUCHER_BYTES for code in self.issued_vouchers):
            raise ValueError("a text is longer than its field")
        try:
            return _RECORDED.pack(*self._head(), self.text)
        except struct.error:
            raise ValueError("a number does not fit its field") from None

    def _head(self) -> tuple[int | bytes, ...]:
        """What stands before the text, value by value as the layout has them."""
        return (
            *self[:10],  # command to page
            self.authorization.encode("ascii"),
            _date_number(self.switch_date),
            _time_number(self.switch_time),
            *self[13:21],  # approved to visits left
            _date_number(self.valid_until),
            self.issued_vouchers[0].encode("ascii"),
            self.issued_vouchers[1].encode("ascii"),
            len(self.text),
            self.code_page,
            self.columns,
            self.last_sequence,
            self.taken.points,
            self.taken.stored_value,
            self.taken.credit,
            *self.taken.vouchers,
            _date_number(self.last_date),
        )

    def _with_totals(self) -> bytes:
        values: dict[str, int | bytes] = dict(zip(_ANSWER.names[1:-1], self._head(), strict=True))
        values |= {"text": self.text, **(forms.pair_values(self.totals) if self.totals else {})}
        return _answer_codec(self.command).pack(values)[_IN_REPLY_TO_BYTES:]

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


def pack_answer(
    command: int,
    flags: int,
    sequence: int,
    date: int,
    module: int,
    result: int,
    reason: int,
    unit: int,
    pages: int,
    page: int,
    authorization: str,
    switch_date: datetime.date,
    switch_time: datetime.time,
    approved: int,
    still_due: int,
    balance: int,
    available: int,
    visits_left: int,
    valid_until: datetime.date | None,
    code_page: CodePage,
    columns: int,
    text: bytes,
    totals: tuple[tuple[int, int], ...] = (),
) -> bytes:
    """What `Response.encode` makes of the same fields, at least up to the last byte that is not zero.

    It has only the fields that decisions set today, and only what is set is packed, as one is made for every request.
    Raises ValueError if a value does not fit its field.
    """
    if command == _TOTALS:  # its text stands behind the totals
        return Response(
            command, flags, sequence, date, module, result, reason, unit, pages, page, authorization, switch_date,
            switch_time, approved, still_due, balance, available, visits_left=visits_left,
            valid_until=valid_until, code_page=code_page, columns=columns, totals=totals, text=text,
        ).encode()  # fmt: skip
    if not 0 <= result <= RESULT_MAX or len(authorization) not in (0, forms.AUTHORIZATION_DIGITS):
        raise ValueError("a result has two digits, an authorization number twelve")
    if len(text) > TEXT_BYTES:
        raise ValueError("a text is longer than its field")
    try:
        head: bytes = _HEAD_NOW.pack(
            command, flags, sequence, date, module, result, reason, unit, pages, page, authorization.encode("ascii"),
            _date_number(switch_date), _time_number(switch_time), approved, still_due, balance, available,
            visits_left, _date_number(valid_until), len(text), code_page, columns,
        )  # fmt: skip
    except struct.error:
        raise ValueError("a number does not fit its field") from None
    return head + text


def result_of(answer: bytes) -> int:
    """The result of a recorded answer, without reading the rest of it."""
    return int.from_bytes(answer[_RESULT.start : _RESULT.stop])


# What goes to the wire as it stands.
_PLAIN: Final = tuple(name for name in Response._fields if name in _ANSWER.names and name not in _SHAPED)


_date_number = lru_cache(_DAYS_KEPT)(forms.date_number)
_time_number = lru_cache(_SECONDS_KEPT)(forms.time_number)


def _answer_codec(command: int) -> Codec:
    return _TOTALS_ANSWER if command == Command.TOTALS else _ANSWER


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
