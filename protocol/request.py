"""A request as a frozen value, and the way between it and its 320 bytes.

A request is read in two steps, because a repeat must find its recorded answer before anything is judged:
`read_envelope` never fails and gives what the look-up needs; `decode_request` then checks, and the answer is always the
first of these that fails:

 1. the command is known; 2. the flags are known, and not offline advice; 3. the unit is known;
 4. the name: the date is one of the calendar, the sequence is not 0; 5. the time is one of the day;
 6. no flag, then no field, that the command forbids is set, then no unused byte; 7. nothing that it requires is absent;
 8. each field has its form, in the order of the layout.

Nearly all requests keep the first seven, and that takes a few comparisons of numbers (`fields.Rules.zero_bits`). Only
one that does not is walked through rule by rule, to name the first that it breaks; the eighth is checked as the values
are made.

None of the values here appears in a repr or an error: only names, numbers of rules, and names of fields.
"""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from protocol import forms
from protocol.codec import Codec, LayoutError
from protocol.crypto import BLOCK_BYTES
from protocol.fields import FLAGS, RULES, Rules
from protocol.forms import FormatError
from protocol.layout import request
from protocol.numbers import KNOWN_FLAGS, OWN, WHOLE, Command, Flag, GivenReason, Reason, is_unit

# Bare numbers: arithmetic with an IntFlag costs about 1 us, and a request needs several.
_OFFLINE = Flag.OFFLINE.value
_ACCESS_CODE = Flag.ACCESS_CODE.value
_SAME_CONTENT_FLAGS = 0xFFFF & ~(Flag.REPEAT.value | Flag.ACCESS_CODE.value)
_FLAGS = tuple(Flag(number) for number in range(KNOWN_FLAGS + 1))

_HEAD = Codec(request(None))
_COMMANDS = {command.value: (command, rules) for command, rules in RULES.items()}
_GIVEN_REASONS = {reason.value: reason for reason in GivenReason}
_COMMAND_AT = _HEAD["command"].place
_FLAGS_AT = _HEAD["flags"].place
_CARD_AT = _HEAD["card"].place
_CODE_AT = _HEAD["access_code_block"].place
_NEW_CODE_AT = RULES[Command.CHANGE_ACCESS_CODE].codec["new_access_code_block"].place
_NO_CODE = bytes(BLOCK_BYTES)
_NO_AUTHORIZATION = bytes(_HEAD["original_authorization"].size)
_CHANGE_ACCESS_CODE = Command.CHANGE_ACCESS_CODE.to_bytes(2)
_TENDERS: Final = ("points", "stored_value", "credit", "external")


class RequestName(NamedTuple):
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
    """The days on which a pass stands still, first and last; without a last, it goes on again on the first."""

    first: datetime.date
    last: datetime.date | None


class Envelope(NamedTuple):
    """What all commands have in common, read before anything is judged: in the layout's order, raw as on the wire."""

    command: int
    flags: int
    unit: int
    reason: int
    amount: int
    sequence: int
    date: int
    time: int
    module: int
    cashier: int
    card: bytes
    access_code_block: bytes
    till_receipt: bytes
    till_serial: bytes
    day_close: int
    programme: int
    eligible: int
    original_date: int
    original_sequence: int
    original_authorization: bytes
    basket: bytes

    def __repr__(self) -> str:
        return f"<Envelope command {self.command:#x} of {self.module}/{self.date}/{self.sequence}>"

    def name(self) -> RequestName:
        """The request's name; raises FormatError (BAD_DATE, BAD_SEQUENCE) if it cannot be one."""
        return RequestName(self.module, forms.date(self.date, "date"), forms.sequence(self.sequence, "sequence"))


_ENVELOPE = _HEAD.picking(*Envelope._fields)


def read_envelope(plain: bytes) -> Envelope:
    """Read what names a request from its 320 bytes; never fails on them."""
    return Envelope._make(_ENVELOPE.unpack(plain))


class Request(NamedTuple):
    """One request, well-formed; made by keywords."""

    command: Command
    module: int
    date: datetime.date
    sequence: int
    time: datetime.time = datetime.time()
    flags: Flag = Flag(0)
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
            "date": forms.date_number(self.date),
            "time": forms.time_number(self.time),
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
            case OriginalName() as name:
                values |= _name_values(name, "original")
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
            values |= {f"tender_{name}": getattr(self.tenders, name) for name in _TENDERS}
        if self.freeze is not None:
            values["freeze_from"] = forms.date_number(self.freeze.first)
            values["freeze_to"] = forms.date_number(self.freeze.last)
        if self.totals is not None:
            values |= _name_values(self.totals.first, "first") | _name_values(self.totals.last, "last")
            values |= forms.pair_values(self.totals.pairs)
        return values


def decode_request(plain: bytes, envelope: Envelope | None = None) -> Request:
    """Read a request from its 320 bytes; its envelope is read too, unless it is given.

    Raises FormatError for the first rule that it breaks, in the order that the head of this file lists.
    """
    raw = envelope or read_envelope(plain)
    row = _COMMANDS.get(raw.command)
    date, time = forms.calendar_date(raw.date), forms.time_of_day(raw.time)
    coded = raw.access_code_block != _NO_CODE
    bits = int.from_bytes(plain)
    if (
        row is None
        or not is_unit(raw.unit)
        or date is None
        or raw.sequence == 0
        or time is None
        or bits & row[1].zero_bits
        or coded is not (raw.flags & _ACCESS_CODE != 0)
        or not all(map(bits.__and__, row[1].needed_bits))
    ):
        check_in_order(plain)
        raise AssertionError("a request broke a rule that has no name")
    command, rules = row
    # By place, in the order of Request: by keywords it takes four times as long.
    request = Request(
        command,
        raw.module,
        date,
        raw.sequence,
        time,
        _FLAGS[raw.flags],
        raw.unit,
        _given_reason(raw.reason),
        forms.amount(raw.amount, "amount"),
        raw.cashier,
        forms.digits(raw.card, "card"),
        raw.access_code_block if coded else None,
        forms.text(raw.till_receipt, "till_receipt"),
        forms.text(raw.till_serial, "till_serial"),
        raw.day_close,
        raw.programme,
        _eligible(raw.eligible, rules),
        _original(raw),
        raw.basket,
    )
    read_area = _AREA_READERS.get(command)
    return request if read_area is None else request._replace(**read_area(rules.codec.unpack(plain)))


def check_in_order(plain: bytes) -> None:
    """Check the first seven rules one after the other; raises FormatError for the first that is broken."""
    envelope = read_envelope(plain)
    if envelope.command not in _COMMANDS:
        raise FormatError(Reason.UNKNOWN_COMMAND, "command")
    if envelope.flags & ~KNOWN_FLAGS:
        raise FormatError(Reason.UNKNOWN_FLAG, "flags")
    if envelope.flags & _OFFLINE:
        raise FormatError(Reason.OFFLINE_ADVICE, "flags")
    if not is_unit(envelope.unit):
        raise FormatError(Reason.UNKNOWN_UNIT, "unit")
    envelope.name()
    forms.time(envelope.time, "time")
    _, rules = _COMMANDS[envelope.command]
    _check_presence(plain, envelope.flags, rules)


def _check_presence(plain: bytes, flags: int, rules: Rules) -> None:
    if flags & ~rules.flags:
        wrong = next(name for name, flag in FLAGS.items() if flags & flag.value & ~rules.flags)
        raise FormatError(Reason.FIELD_FORBIDDEN, wrong)
    for name, place, zeros in rules.forbidden:
        if plain[place.start : place.stop] != zeros:
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


def _freeze(raw: Mapping[str, Any]) -> Freeze:
    first, last = forms.date(raw["freeze_from"], "freeze_from"), forms.optional_date(raw["freeze_to"], "freeze_to")
    if last is not None and last < first:
        raise FormatError(Reason.BAD_DATE, "freeze_to")
    return Freeze(first, last)


def _vouchers(raw: Mapping[str, Any]) -> tuple[Voucher, ...]:
    vouchers: list[Voucher] = []
    for place in (1, 2, 3):
        code = forms.text(raw[f"voucher_{place}_code"], f"voucher_{place}_code")
        amount = forms.amount(raw[f"voucher_{place}_amount"], f"voucher_{place}_amount")
        if code and len(vouchers) < place - 1:
            raise FormatError(Reason.FIELD_MISSING, f"voucher_{place - 1}_code")
        if amount and not code:
            raise FormatError(Reason.FIELD_MISSING, f"voucher_{place}_code")
        if code:
            vouchers.append(Voucher(code, amount))
    return tuple(vouchers)


def _tenders(raw: Mapping[str, Any]) -> Tenders | None:
    tenders = Tenders(*(forms.amount(raw[f"tender_{name}"], f"tender_{name}") for name in _TENDERS))
    return None if tenders == Tenders() else tenders


def _totals(raw: Mapping[str, Any]) -> Totals:
    first, last = (_read_name(raw[f"{which}_date"], raw[f"{which}_sequence"], which) for which in ("first", "last"))
    if last.sequence < first.sequence:
        raise FormatError(Reason.BAD_SEQUENCE, "last_sequence")
    return Totals(first, last, forms.read_pairs(raw))


def _read_name(date: int, sequence: int, which: str) -> OriginalName:
    return OriginalName(forms.date(date, f"{which}_date"), forms.sequence(sequence, f"{which}_sequence"))


def _name_values(name: OriginalName, which: str) -> dict[str, int | bytes]:
    return {f"{which}_date": forms.date_number(name.date), f"{which}_sequence": name.sequence}


def _original(raw: Envelope) -> OriginalName | str | None:
    named = raw.original_date or raw.original_sequence
    if raw.original_authorization != _NO_AUTHORIZATION:
        if named:
            raise FormatError(Reason.TWO_ORIGINALS, "original_authorization")
        return forms.authorization(raw.original_authorization, "original_authorization")
    return _read_name(raw.original_date, raw.original_sequence, "original") if named else None


def _eligible(number: int, rules: Rules) -> int | None:
    if number == WHOLE or "eligible" not in rules.allowed:
        return None
    return forms.amount(number, "eligible")


def _given_reason(number: int) -> GivenReason:
    reason = _GIVEN_REASONS.get(number)
    if reason is None:
        raise FormatError(Reason.UNKNOWN_REASON, "reason")
    return reason


def _read_payment(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {"vouchers": _vouchers(raw), "tenders": _tenders(raw)}


_AREA_READERS: Final[dict[Command, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    Command.PAGE: lambda raw: {"page": raw["page"]},
    Command.CHANGE_ACCESS_CODE: lambda raw: {"new_access_code_block": raw["new_access_code_block"]},
    Command.REPLACE: lambda raw: {"new_card": forms.digits(raw["new_card"], "new_card")},
    Command.TOTALS: lambda raw: {"totals": _totals(raw)},
    Command.PURCHASE: _read_payment,
    Command.QUOTE: _read_payment,
    Command.VOUCHER_CHECK: _read_payment,
    Command.VOUCHER_ACTIVATE: _read_payment,
    Command.VOUCHER_REDEEM: _read_payment,
    Command.FREEZE: lambda raw: {"freeze": _freeze(raw)},
    Command.LIMIT: lambda raw: {"limit": forms.amount(raw["limit"], "limit")},
}


def identity_bytes(plain: bytes, token: bytes) -> bytes:
    """What the keyed digest of "same content" is taken over.

    The request's 320 bytes without the 20 of the card, the access-code blocks and the flags `repeat` and `access code
    present` zeroed, and then the card's token. Two copies of one request give the same bytes, however often its access
    code was sealed anew.
    """
    head = plain[: _FLAGS_AT.start]
    flags = (int.from_bytes(plain[_FLAGS_AT.start : _FLAGS_AT.stop]) & _SAME_CONTENT_FLAGS).to_bytes(2)
    rest = plain[_CODE_AT.stop :]
    if plain[_COMMAND_AT.start : _COMMAND_AT.stop] == _CHANGE_ACCESS_CODE:
        rest = plain[_CODE_AT.stop : _NEW_CODE_AT.start] + _NO_CODE + plain[_NEW_CODE_AT.stop :]
    return head + flags + plain[_FLAGS_AT.stop : _CARD_AT.start] + _NO_CODE + rest + token
