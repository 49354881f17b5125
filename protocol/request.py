"""A request as a frozen value, and the way between it and its 320 bytes.

A request is read in two steps, because a repeat must find its recorded answer before anything is judged:
`read_envelope` never fails and gives what the look-up needs; `decode_request` then checks, always in this order, and
the first that fails is the answer:

 1. the command is known; 2. the flags are known, and not offline advice; 3. the unit is known;
 4. the name: the date is one of the calendar, the sequence is not 0; 5. the time is one of the day;
 6. no flag, then no field, that the command forbids is set, then no unused byte; 7. nothing that it requires is absent;
 8. each field has its form, in the order of the layout.

Nearly every request is well-formed, and to be told so it need not be judged rule by rule: what must be zero is one mask
over the 320 bytes, and what is left is read once. Only where that fails are the rules gone through in their order. A
command with an area of its own, none of which is frequent, always goes that way.

None of the values here appears in a repr or an error: only names, numbers of rules, and names of fields.
"""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from protocol import forms
from protocol.codec import Codec, Field, LayoutError
from protocol.crypto import BLOCK_BYTES
from protocol.fields import FLAGS, RULES, Rules
from protocol.forms import FormatError
from protocol.layout import AREAS, REQUEST_BYTES, request
from protocol.numbers import AMOUNT_END, KNOWN_FLAGS, OWN, WHOLE, Command, Flag, GivenReason, Reason, is_unit

# Bare numbers: arithmetic with an IntFlag costs about 1 us, and a request needs several.
_OFFLINE = Flag.OFFLINE.value
_ACCESS_CODE = Flag.ACCESS_CODE.value
_FLAGS = {number: Flag(number) for number in range(KNOWN_FLAGS + 1)}

_HEAD = Codec(request(None))
_ENVELOPE = _HEAD.picking("command", "flags", "sequence", "date", "module", "card")
_COMMANDS = {command.value: command for command in Command}
_GIVEN_REASONS = {reason.value: reason for reason in GivenReason}
_COMMAND_AT = _HEAD["command"].place
_CARD = _HEAD["card"]
_NO_CODE = bytes(BLOCK_BYTES)
_NO_TEXT = bytes(_HEAD["till_receipt"].size)
_CHANGE_ACCESS_CODE = Command.CHANGE_ACCESS_CODE.to_bytes(2)


def _bits(at: int, end: int, bits: int = -1) -> int:
    """These bits of a stretch, all if none are given, as a mask over a request read as one number."""
    return (bits & ((1 << 8 * (end - at)) - 1)) << 8 * (REQUEST_BYTES - end)


def _bits_of(field: Field, bits: int = -1) -> int:
    return _bits(field.at, field.end, bits)


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
    """The days on which a pass stands still, first and last."""

    first: datetime.date
    last: datetime.date


class Envelope(NamedTuple):
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
        return RequestName(self.module, forms.date(self.date, "date"), forms.sequence(self.sequence, "sequence"))


def read_envelope(plain: bytes) -> Envelope:
    """Read what names a request from its 320 bytes; never fails on them."""
    return Envelope._make(_ENVELOPE.unpack(plain))


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
            values |= {f"tender_{name}": getattr(self.tenders, name) for name in Tenders.__slots__}
        if self.freeze is not None:
            values["freeze_from"] = forms.date_number(self.freeze.first)
            values["freeze_to"] = forms.date_number(self.freeze.last)
        if self.totals is not None:
            values |= _name_values(self.totals.first, "first") | _name_values(self.totals.last, "last")
            values |= forms.pair_values(self.totals.pairs)
        return values


class _Shape(NamedTuple):
    """What tells at one look that a request of a command may be well-formed."""

    command: Command
    zero: int  # the bits that no well-formed one has set
    needed: tuple[tuple[slice, bytes], ...]  # where something stands, and what would be nothing
    rules: Rules


def _shape(command: Command, rules: Rules) -> _Shape:
    codec = rules.codec
    zero = _bits_of(codec["flags"], ~rules.flags) | _bits_of(codec["amount"], AMOUNT_END)
    for field in codec.fields:
        if not field.name:
            zero |= _bits_of(field)
    for _, place, _ in rules.forbidden:
        zero |= _bits(place.start, place.stop)
    stretches = [slice(codec[names[0]].at, codec[names[-1]].end) for _, names in rules.needed if names]
    return _Shape(command, zero, tuple((place, bytes(place.stop - place.start)) for place in stretches), rules)


_SHAPES: Final = {
    command.to_bytes(2): _shape(command, rules) for command, rules in RULES.items() if command not in AREAS
}


def decode_request(plain: bytes) -> Request:
    """Read a request from its 320 bytes.

    Raises FormatError for the first rule that it breaks, in the order that the head of this file lists.
    """
    return read_well_formed(plain) or judge_request(plain)


def read_well_formed(plain: bytes) -> Request | None:
    """The request, read at one go; None where it breaks a rule, or has an area: `judge_request` says which."""
    shape = _SHAPES.get(plain[_COMMAND_AT])
    if shape is None or len(plain) != REQUEST_BYTES or int.from_bytes(plain) & shape.zero:
        return None
    for place, nothing in shape.needed:
        if plain[place] == nothing:
            return None
    (  # in the layout's order
        _, flags, unit, reason, amount, sequence, date, time, module, cashier, card, block, till_receipt, till_serial,
        day_close, programme, eligible, original_date, original_sequence, original_number, basket, _,
    ) = _HEAD.unpack_row(plain)  # fmt: skip
    coded = block != _NO_CODE
    if not is_unit(unit) or coded != bool(flags & _ACCESS_CODE):
        return None
    try:
        return Request(
            command=shape.command,
            flags=_FLAGS[flags],
            unit=unit,
            reason=_given_reason(reason),
            amount=amount,
            sequence=forms.sequence(sequence, "sequence"),
            date=forms.date(date, "date"),
            time=forms.time(time, "time"),
            module=module,
            cashier=cashier,
            card=forms.digits(card, "card"),
            access_code_block=block if coded else None,
            till_receipt="" if till_receipt == _NO_TEXT else forms.text(till_receipt, "till_receipt"),
            till_serial="" if till_serial == _NO_TEXT else forms.text(till_serial, "till_serial"),
            day_close=day_close,
            programme=programme,
            eligible=_eligible(eligible, shape.rules),
            original=_original(original_date, original_sequence, original_number),
            basket=basket,
        )
    except FormatError:
        return None


def judge_request(plain: bytes) -> Request:
    """Read a request rule by rule; raises FormatError for the first that it breaks."""
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
    time_of_day = forms.time(int.from_bytes(plain[time.at : time.end]), "time")

    rules = RULES[command]
    raw = _present_and_absent(plain, envelope.flags, rules)
    return Request(
        command=command,
        flags=_FLAGS[envelope.flags],
        unit=raw["unit"],
        reason=_given_reason(raw["reason"]),
        amount=forms.amount(raw["amount"], "amount"),
        sequence=name.sequence,
        date=name.date,
        time=time_of_day,
        module=name.module,
        cashier=raw["cashier"],
        card=forms.digits(raw["card"], "card"),
        access_code_block=raw["access_code_block"] if envelope.flags & _ACCESS_CODE else None,
        till_receipt=forms.text(raw["till_receipt"], "till_receipt"),
        till_serial=forms.text(raw["till_serial"], "till_serial"),
        day_close=raw["day_close"],
        programme=raw["programme"],
        eligible=_eligible(raw["eligible"], rules),
        original=_original(raw["original_date"], raw["original_sequence"], raw["original_authorization"]),
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
    first, last = forms.date(raw["freeze_from"], "freeze_from"), forms.date(raw["freeze_to"], "freeze_to")
    if last < first:
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
    tenders = Tenders(*(forms.amount(raw[f"tender_{name}"], f"tender_{name}") for name in Tenders.__slots__))
    return None if tenders == Tenders() else tenders


def _totals(raw: Mapping[str, Any]) -> Totals:
    first, last = _read_name(raw, "first"), _read_name(raw, "last")
    if last.sequence < first.sequence:
        raise FormatError(Reason.BAD_SEQUENCE, "last_sequence")
    return Totals(first, last, forms.read_pairs(raw))


def _read_name(raw: Mapping[str, Any], which: str) -> OriginalName:
    return _named(raw[f"{which}_date"], raw[f"{which}_sequence"], which)


def _named(date: int, sequence: int, which: str) -> OriginalName:
    return OriginalName(forms.date(date, f"{which}_date"), forms.sequence(sequence, f"{which}_sequence"))


def _name_values(name: OriginalName, which: str) -> dict[str, int | bytes]:
    return {f"{which}_date": forms.date_number(name.date), f"{which}_sequence": name.sequence}


def _original(date: int, sequence: int, number: bytes) -> OriginalName | str | None:
    named = date or sequence
    if any(number):
        if named:
            raise FormatError(Reason.TWO_ORIGINALS, "original_authorization")
        return forms.authorization(number, "original_authorization")
    return _named(date, sequence, "original") if named else None


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


# What the digest of "same content" is not taken over: access codes, random by nature, and the flags of a copy.
_NOT_CONTENT = _bits_of(_HEAD["flags"], Flag.REPEAT.value | Flag.ACCESS_CODE.value) | _bits_of(
    _HEAD["access_code_block"]
)
_CONTENT = _bits(0, REQUEST_BYTES) & ~_NOT_CONTENT
_CONTENT_OF_NEW_CODE = _CONTENT & ~_bits_of(RULES[Command.CHANGE_ACCESS_CODE].codec["new_access_code_block"])


def identity_bytes(plain: bytes, token: bytes) -> bytes:
    """What the keyed digest of "same content" is taken over.

    The request's 320 bytes without the 20 of the card, the access-code blocks and the flags `repeat` and `access code
    present` zeroed, and then the card's token. Two copies of one request give the same bytes, however often its access
    code was sealed anew.
    """
    mask = _CONTENT_OF_NEW_CODE if plain[_COMMAND_AT] == _CHANGE_ACCESS_CODE else _CONTENT
    content = (int.from_bytes(plain) & mask).to_bytes(REQUEST_BYTES)
    return content[: _CARD.at] + content[_CARD.end :] + token
