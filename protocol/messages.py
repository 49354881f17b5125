"""Requests and answers as frozen values, and the way between them and their bytes.

A request is read in two steps, because a repeat must find its recorded answer before anything is judged:
`read_envelope` never fails and gives what the look-up needs; `decode_request` then checks, always in this order, and
the first that fails is the answer:

 1. the command is known; 2. the flags are known, and not offline advice; 3. the unit is known;
 4. the name: the date is one of the calendar, the sequence is not 0; 5. the time is one of the day;
 6. no flag, then no field, that the command forbids is set, then no unused byte; 7. nothing that it requires is absent;
 8. each field has its form, in the order of the layout.

None of the values here appears in a repr or an error: only names, numbers of rules, and names of fields.
"""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from protocol.codec import Codec, LayoutError
from protocol.fields import FLAGS, RULES, Rules
from protocol.layout import AREAS, RESPONSE, TOTALS_RESPONSE, request
from protocol.numbers import (
    AMOUNT_END,
    KNOWN_FLAGS,
    OWN,
    WHOLE,
    CodePage,
    Command,
    Flag,
    GivenReason,
    Reason,
    TotalsKind,
    is_unit,
)

AUTHORIZATION_DIGITS: Final = 12
RESULT_MAX: Final = 99

# Bare numbers: arithmetic with an IntFlag costs about 1 us, and a request needs several.
_OFFLINE = Flag.OFFLINE.value
_ACCESS_CODE = Flag.ACCESS_CODE.value
_SAME_CONTENT_FLAGS = 0xFFFF & ~(Flag.REPEAT.value | Flag.ACCESS_CODE.value)
_FLAGS = {number: Flag(number) for number in range(KNOWN_FLAGS + 1)}

_HEAD = Codec(request(None))
_ENVELOPE = _HEAD.picking("command", "flags", "sequence", "date", "module", "card")
_COMMANDS = {command.value: command for command in Command}
_GIVEN_REASONS = {reason.value: reason for reason in GivenReason}
_CARD = _HEAD["card"]
_CODE = _HEAD["access_code_block"]
_NEW_CODE = RULES[Command.CHANGE_ACCESS_CODE].codec["new_access_code_block"]
_IN_REPLY_TO_BYTES: Final = 8
_ANSWER = Codec(RESPONSE)
_TOTALS_ANSWER = Codec(TOTALS_RESPONSE)
_SHAPED = frozenset(
    ("authorization", "switch_date", "switch_time", "valid_until", "last_date", "text")  # not bare numbers in a value
)
_PAIRS = tuple((f"count_{kind.name.lower()}", f"sum_{kind.name.lower()}") for kind in TotalsKind)


class FormatError(ValueError):
    """A message breaks a rule of its format; `reason` says which, `field` where. It never holds a value."""

    def __init__(self, reason: Reason, field: str):
        super().__init__(f"{field}: {reason.note}")
        self.reason = reason
        self.field = field


@dataclass(frozen=True, slots=True)
class RequestName:
    """What a request is called for ever."""

    module: int
    date: datetime.date
    sequence: int


@dataclass(frozen=True, slots=True)
class OriginalName:
    """The name of an earlier request of the same module."""

    date: datetime.date
    sequence: int


@dataclass(frozen=True, slots=True)
class Voucher:
    """A voucher that is to be used, and how much of it at most."""

    code: str
    amount: int

    def __repr__(self) -> str:
        return "<Voucher>"


@dataclass(frozen=True, slots=True)
class Tenders:
    """How a purchase is to be paid, in minor units."""

    points: int = 0
    stored_value: int = 0
    credit: int = 0
    external: int = 0

    def __repr__(self) -> str:
        return "<Tenders>"


@dataclass(frozen=True, slots=True)
class Totals:
    """An interval of a module's names, and what it counted there: (count, sum) by kind."""

    first: OriginalName
    last: OriginalName
    pairs: tuple[tuple[int, int], ...]

    def __repr__(self) -> str:
        return f"<Totals {self.first} to {self.last}>"


@dataclass(frozen=True, slots=True)
class Freeze:
    """The days on which a pass stands still, first and last."""

    first: datetime.date
    last: datetime.date


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is read of a request before anything is judged: raw numbers, the card as its 20 bytes."""

    command: int
    flags: int
    sequence: int
    date: int
    module: int
    card: bytes

    def __repr__(self) -> str:
        return f"<Envelope command {self.command:#x} of {self.module}/{self.date}/{self.sequence}>"

    def name(self) -> RequestName:
        """The request's name; raises FormatError (BAD_DATE, BAD_SEQUENCE) if it cannot be one."""
        return RequestName(self.module, _date(self.date, "date"), _sequence(self.sequence, "sequence"))


def read_envelope(plain: bytes) -> Envelope:
    """Read what names a request from its 320 bytes; never fails on them."""
    return Envelope(*_ENVELOPE.unpack(plain))


def calendar_date(yyyymmdd: int) -> datetime.date | None:
    """The date that a number spells, or None if there is no such day."""
    try:
        return datetime.date(yyyymmdd // 10_000, yyyymmdd // 100 % 100, yyyymmdd % 100)
    except ValueError:
        return None


def date_number(date: datetime.date | None) -> int:
    """A date as the wire spells it: yyyymmdd, 0 for none."""
    return 0 if date is None else date.year * 10_000 + date.month * 100 + date.day


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Request:
    """One request, well-formed."""

    command: Command
    module: int
    date: datetime.date
    sequence: int
    time: datetime.time = datetime.time()
    flags: Flag = Flag(0)  # noqa: RUF009 - an enumeration's member, made once
    unit: int = OWN
    reason: GivenReason = GivenReason.NONE
    amount: int = 0
    cashier: int = 0
    card: str = ""
    access_code_block: bytes | None = None
    till_receipt: str = ""
    till_serial: str = ""
    day_close: int = 0
    programme: int = 0
    eligible: int | None = None
    original: OriginalName | str | None = None
    basket: bytes = bytes(16)
    page: int = 0
    new_access_code_block: bytes | None = None
    new_card: str = ""
    vouchers: tuple[Voucher, ...] = ()
    tenders: Tenders | None = None
    totals: Totals | None = None
    freeze: Freeze | None = None
    limit: int = 0

    def __repr__(self) -> str:
        return f"<Request {self.command.name} {self.module}/{self.date}/{self.sequence}>"

    @property
    def name(self) -> RequestName:
        """What this request is called for ever."""
        return RequestName(self.module, self.date, self.sequence)

    def encode(self) -> bytes:
        """The request's 320 bytes.

        Raises ValueError if a value does not fit its field, or stands in a field that the command's layout lacks.
        Whether the command allows a field is checked where it is decoded.
        """
        values: dict[str, int | bytes] = {
            "command": self.command,
            "flags": self.flags,
            "unit": self.unit,
            "reason": self.reason,
            "amount": self.amount,
            "sequence": self.sequence,
            "date": date_number(self.date),
            "time": _time_number(self.time),
            "module": self.module,
            "cashier": self.cashier,
            "card": self.card.encode("ascii"),
            "access_code_block": self.access_code_block or b"",
            "till_receipt": self.till_receipt.encode("ascii"),
            "till_serial": self.till_serial.encode("ascii"),
            "day_close": self.day_close,
            "programme": self.programme,
            "eligible": self._eligible_number(),
            "basket": self.basket,
        }
        match self.original:
            case OriginalName(date, sequence):
                values |= {"original_date": date_number(date), "original_sequence": sequence}
            case str(number):
                values["original_authorization"] = number.encode("ascii")
            case None:
                pass
        return RULES[self.command].codec.pack(values | self._area())

    def _eligible_number(self) -> int:
        if self.eligible is not None:
            return self.eligible
        return WHOLE if "eligible" in RULES[self.command].allowed else 0

    def _area(self) -> dict[str, int | bytes]:
        values: dict[str, int | bytes] = {}
        if self.page:
            values["page"] = self.page
        if self.new_access_code_block is not None:
            values["new_access_code_block"] = self.new_access_code_block
        if self.new_card:
            values["new_card"] = self.new_card.encode("ascii")
        if self.limit:
            values["limit"] = self.limit
        for place, voucher in enumerate(self.vouchers, start=1):
            values[f"voucher_{place}_code"] = voucher.code.encode("ascii")
            values[f"voucher_{place}_amount"] = voucher.amount
        if self.tenders is not None:
            values |= {f"tender_{name}": getattr(self.tenders, name) for name in Tenders.__slots__}
        if self.freeze is not None:
            values |= {"freeze_from": date_number(self.freeze.first), "freeze_to": date_number(self.freeze.last)}
        if self.totals is not None:
            values |= {"first_date": date_number(self.totals.first.date), "first_sequence": self.totals.first.sequence}
            values |= {"last_date": date_number(self.totals.last.date), "last_sequence": self.totals.last.sequence}
            values |= _pair_values(self.totals.pairs)
        return values


def decode_request(plain: bytes) -> Request:
    """Read a request from its 320 bytes.

    Raises FormatError for the first rule that it breaks, in the order that the head of this file lists.
    """
    envelope = read_envelope(plain)
    command = _COMMANDS.get(envelope.command)
    if command is None:
        raise FormatError(Reason.UNKNOWN_COMMAND, "command")
    if envelope.flags & ~KNOWN_FLAGS:
        raise FormatError(Reason.UNKNOWN_FLAG, "flags")
    if envelope.flags & _OFFLINE:
        raise FormatError(Reason.OFFLINE_ADVICE, "flags")
    unit = _HEAD["unit"]
    if not is_unit(int.from_bytes(plain[unit.at : unit.end])):
        raise FormatError(Reason.UNKNOWN_UNIT, "unit")
    name = envelope.name()
    time = _HEAD["time"]
    time_of_day = _time(int.from_bytes(plain[time.at : time.end]), "time")

    rules = RULES[command]
    raw = _present_and_absent(plain, envelope.flags, rules)
    return Request(
        command=command,
        flags=_FLAGS[envelope.flags],
        unit=raw["unit"],
        reason=_given_reason(raw["reason"]),
        amount=_amount(raw["amount"], "amount"),
        sequence=name.sequence,
        date=name.date,
        time=time_of_day,
        module=name.module,
        cashier=raw["cashier"],
        card=_digits(raw["card"], "card"),
        access_code_block=raw["access_code_block"] if envelope.flags & _ACCESS_CODE else None,
        till_receipt=_text(raw["till_receipt"], "till_receipt"),
        till_serial=_text(raw["till_serial"], "till_serial"),
        day_close=raw["day_close"],
        programme=raw["programme"],
        eligible=_eligible(raw["eligible"], rules),
        original=_original(raw),
        basket=raw["basket"],
        **(_AREA_READERS[command](raw) if command in AREAS else {}),
    )


def _present_and_absent(plain: bytes, flags: int, rules: Rules) -> dict[str, Any]:
    if flags & ~rules.flags:
        wrong = next(name for name, flag in FLAGS.items() if flags & flag.value & ~rules.flags)
        raise FormatError(Reason.FIELD_FORBIDDEN, wrong)
    for name, place, zeros in rules.forbidden:
        if plain[place] != zeros:
            raise FormatError(Reason.FIELD_FORBIDDEN, name)
    try:
        raw = rules.codec.unpack(plain)
    except LayoutError:
        raise FormatError(Reason.FIELD_FORBIDDEN, "unused") from None
    coded = any(raw["access_code_block"])
    if coded and not flags & _ACCESS_CODE:
        raise FormatError(Reason.FIELD_FORBIDDEN, "access_code_block")
    if flags & _ACCESS_CODE and not coded:
        raise FormatError(Reason.FIELD_MISSING, "access_code_block")
    for name, parts in rules.needed:
        if not any(any(value) if isinstance(value := raw[part], bytes) else value for part in parts):
            raise FormatError(Reason.FIELD_MISSING, name)
    return raw


def _freeze(raw: Mapping[str, Any]) -> Freeze:
    first, last = _date(raw["freeze_from"], "freeze_from"), _date(raw["freeze_to"], "freeze_to")
    if last < first:
        raise FormatError(Reason.BAD_DATE, "freeze_to")
    return Freeze(first, last)


def _vouchers(raw: Mapping[str, Any]) -> tuple[Voucher, ...]:
    vouchers: list[Voucher] = []
    for place in (1, 2, 3):
        code = _text(raw[f"voucher_{place}_code"], f"voucher_{place}_code")
        amount = _amount(raw[f"voucher_{place}_amount"], f"voucher_{place}_amount")
        if code and len(vouchers) < place - 1:
            raise FormatError(Reason.FIELD_MISSING, f"voucher_{place - 1}_code")
        if amount and not code:
            raise FormatError(Reason.FIELD_MISSING, f"voucher_{place}_code")
        if code:
            vouchers.append(Voucher(code, amount))
    return tuple(vouchers)


def _tenders(raw: Mapping[str, Any]) -> Tenders | None:
    tenders = Tenders(*(_amount(raw[f"tender_{name}"], f"tender_{name}") for name in Tenders.__slots__))
    return None if tenders == Tenders() else tenders


def _totals(raw: Mapping[str, Any]) -> Totals:
    first = OriginalName(_date(raw["first_date"], "first_date"), _sequence(raw["first_sequence"], "first_sequence"))
    last = OriginalName(_date(raw["last_date"], "last_date"), _sequence(raw["last_sequence"], "last_sequence"))
    if last.sequence < first.sequence:
        raise FormatError(Reason.BAD_SEQUENCE, "last_sequence")
    return Totals(first, last, _read_pairs(raw))


def _read_pairs(raw: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    return tuple((raw[count], _amount(raw[total], total)) for count, total in _PAIRS)


def _pair_values(pairs: tuple[tuple[int, int], ...]) -> dict[str, int | bytes]:
    values: dict[str, int | bytes] = {}
    for (count, total), names in zip(pairs, _PAIRS, strict=True):
        values |= {names[0]: count, names[1]: total}
    return values


def _original(raw: Mapping[str, Any]) -> OriginalName | str | None:
    date, sequence, number = raw["original_date"], raw["original_sequence"], raw["original_authorization"]
    if any(number):
        if date or sequence:
            raise FormatError(Reason.TWO_ORIGINALS, "original_authorization")
        return _authorization(number, "original_authorization")
    if date or sequence:
        return OriginalName(_date(date, "original_date"), _sequence(sequence, "original_sequence"))
    return None


def _eligible(number: int, rules: Rules) -> int | None:
    if number == WHOLE or "eligible" not in rules.allowed:
        return None
    return _amount(number, "eligible")


def _given_reason(number: int) -> GivenReason:
    reason = _GIVEN_REASONS.get(number)
    if reason is None:
        raise FormatError(Reason.UNKNOWN_REASON, "reason")
    return reason


def _amount(number: int, field: str) -> int:
    if number >= AMOUNT_END:
        raise FormatError(Reason.AMOUNT_TOO_LARGE, field)
    return number


def _digits(raw: bytes, field: str) -> str:
    digits = raw.rstrip(b"\0")
    if digits and not digits.isdigit():
        raise FormatError(Reason.NOT_DIGITS, field)
    return digits.decode("ascii")


def _authorization(raw: bytes, field: str) -> str:
    digits = _digits(raw, field)
    if digits and len(digits) != AUTHORIZATION_DIGITS:
        raise FormatError(Reason.NOT_DIGITS, field)
    return digits


def _text(raw: bytes, field: str) -> str:
    text = raw.rstrip(b"\0")
    if not text.isascii() or not (decoded := text.decode("ascii")).isprintable():
        raise FormatError(Reason.BAD_TEXT, field)
    return decoded


def _date(number: int, field: str) -> datetime.date:
    date = calendar_date(number)
    if date is None:
        raise FormatError(Reason.BAD_DATE, field)
    return date


def _optional_date(number: int, field: str) -> datetime.date | None:
    return _date(number, field) if number else None


def _time(number: int, field: str) -> datetime.time:
    try:
        return datetime.time(number // 10_000, number // 100 % 100, number % 100)
    except ValueError:
        raise FormatError(Reason.BAD_TIME, field) from None


def _time_number(time: datetime.time) -> int:
    return time.hour * 10_000 + time.minute * 100 + time.second


def _sequence(number: int, field: str) -> int:
    if number == 0:
        raise FormatError(Reason.BAD_SEQUENCE, field)
    return number


def _read_payment(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {"vouchers": _vouchers(raw), "tenders": _tenders(raw)}


_AREA_READERS: Final[dict[Command, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    Command.PAGE: lambda raw: {"page": raw["page"]},
    Command.CHANGE_ACCESS_CODE: lambda raw: {"new_access_code_block": raw["new_access_code_block"]},
    Command.REPLACE: lambda raw: {"new_card": _digits(raw["new_card"], "new_card")},
    Command.TOTALS: lambda raw: {"totals": _totals(raw)},
    Command.PURCHASE: _read_payment,
    Command.QUOTE: _read_payment,
    Command.VOUCHER_CHECK: _read_payment,
    Command.VOUCHER_ACTIVATE: _read_payment,
    Command.VOUCHER_REDEEM: _read_payment,
    Command.FREEZE: lambda raw: {"freeze": _freeze(raw)},
    Command.LIMIT: lambda raw: {"limit": _amount(raw["limit"], "limit")},
}


def identity_bytes(plain: bytes, token: bytes) -> bytes:
    """What the keyed digest of "same content" is taken over.

    The request's 320 bytes without the 20 of the card, the access-code blocks and the flags `repeat` and `access code
    present` zeroed, and then the card's token. Two copies of one request give the same bytes, however often its access
    code was sealed anew.
    """
    envelope = read_envelope(plain)
    flags = _HEAD["flags"]
    content = bytearray(plain)
    content[flags.at : flags.end] = (envelope.flags & _SAME_CONTENT_FLAGS).to_bytes(flags.size)
    content[_CODE.at : _CODE.end] = bytes(_CODE.size)
    if envelope.command == Command.CHANGE_ACCESS_CODE:
        content[_NEW_CODE.at : _NEW_CODE.end] = bytes(_NEW_CODE.size)
    del content[_CARD.at : _CARD.end]
    return bytes(content) + token


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken from where, in minor units; vouchers in the order of the request."""

    points: int = 0
    stored_value: int = 0
    credit: int = 0
    vouchers: tuple[int, int, int] = (0, 0, 0)

    def __repr__(self) -> str:
        return "<Taken>"


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Response:
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
        if not 0 <= self.result <= RESULT_MAX or len(self.authorization) not in (0, AUTHORIZATION_DIGITS):
            raise ValueError("a result has two digits, an authorization number twelve")
        values: dict[str, int | bytes] = {name: getattr(self, name) for name in _PLAIN}
        values |= {
            "authorization": self.authorization.encode("ascii"),
            "switch_date": date_number(self.switch_date),
            "switch_time": _time_number(self.switch_time),
            "valid_until": date_number(self.valid_until),
            "issued_voucher_1": self.issued_vouchers[0].encode("ascii"),
            "issued_voucher_2": self.issued_vouchers[1].encode("ascii"),
            "text_length": len(self.text),
            "last_date": date_number(self.last_date),
            "taken_points": self.taken.points,
            "taken_stored_value": self.taken.stored_value,
            "taken_credit": self.taken.credit,
            "taken_voucher_1": self.taken.vouchers[0],
            "taken_voucher_2": self.taken.vouchers[1],
            "taken_voucher_3": self.taken.vouchers[2],
            "text": self.text,
        }
        if self.totals:
            values |= _pair_values(self.totals)
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
            authorization=_authorization(raw["authorization"], "authorization"),
            switch_date=_optional_date(raw["switch_date"], "switch_date"),
            switch_time=_time(raw["switch_time"], "switch_time"),
            valid_until=_optional_date(raw["valid_until"], "valid_until"),
            issued_vouchers=(
                _text(raw["issued_voucher_1"], "issued_voucher_1"),
                _text(raw["issued_voucher_2"], "issued_voucher_2"),
            ),
            last_date=_optional_date(raw["last_date"], "last_date"),
            taken=Taken(
                _amount(raw["taken_points"], "taken_points"),
                _amount(raw["taken_stored_value"], "taken_stored_value"),
                _amount(raw["taken_credit"], "taken_credit"),
                (
                    _amount(raw["taken_voucher_1"], "taken_voucher_1"),
                    _amount(raw["taken_voucher_2"], "taken_voucher_2"),
                    _amount(raw["taken_voucher_3"], "taken_voucher_3"),
                ),
            ),
            totals=_read_pairs(raw) if codec is _TOTALS_ANSWER else (),
            text=_receipt(raw["text"], raw["text_length"]),
        )


# What goes to the wire as it stands.
_PLAIN: Final = tuple(name for name in Response.__slots__ if name in _ANSWER.names and name not in _SHAPED)


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
