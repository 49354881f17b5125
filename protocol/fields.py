"""Which field each command requires, allows and forbids: one table.

Three rules stand above it. What the table does not name, the command forbids, and a forbidden field is zero. Every
command has a name (module, date, sequence) and a time, so those are not in it. `amount` and `limit` are never missing:
0 is a value of theirs, and what it means is judged with the card (an amount of 0 is answered 13), not as a matter of
format.

A field here is what a person would call one: `original` is a name or a number, `access_code` is a flag and a block.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from protocol.codec import Codec
from protocol.layout import request
from protocol.numbers import Command, Flag

_ORIGIN: Final = "repeat cashier till_receipt till_serial day_close"
_CARD: Final = f"{_ORIGIN} keyed unit programme"
_BASKET: Final = f"{_CARD} partial access_code eligible basket"

_REQUIRED_ALLOWED: Final[dict[Command, tuple[str, str]]] = {
    Command.ECHO: ("", ""),
    Command.PAGE: ("original page", ""),
    Command.BALANCE: ("card", f"{_CARD} access_code"),
    Command.ACTIVATE: ("card", f"{_CARD} amount access_code"),
    Command.RELOAD: ("amount card", f"{_CARD} access_code"),
    Command.SALE: ("amount card", _BASKET),
    Command.HOLD: ("amount card", f"{_CARD} partial access_code"),
    Command.CONFIRM: ("amount original", f"{_CARD} card eligible basket"),
    Command.RELEASE: ("original", f"{_CARD} card"),
    Command.REFUND: ("amount original", f"{_CARD} card basket"),
    Command.REVERSE: ("original", f"{_CARD} card amount reason"),
    Command.PAYMENT: ("amount card", _CARD),
    Command.VISIT: ("card", f"{_CARD} amount access_code"),
    Command.CASH_OUT: ("card", f"{_CARD} access_code"),
    Command.BLOCK: ("card reason", _CARD),
    Command.UNBLOCK: ("card reason", _CARD),
    Command.CHANGE_ACCESS_CODE: ("card new_access_code", f"{_CARD} access_code"),
    Command.REPLACE: ("card new_card", f"{_CARD} access_code"),
    Command.TOTALS: ("unit totals", _ORIGIN),
    Command.REPRINT: ("original", _ORIGIN),
    Command.PURCHASE: ("amount card", f"{_BASKET} vouchers tenders"),
    Command.QUOTE: ("amount card", f"{_BASKET} vouchers tenders"),
    Command.REGISTER: ("card", _CARD),
    Command.VOUCHER_CHECK: ("vouchers", f"{_CARD} card amount basket"),
    Command.VOUCHER_ACTIVATE: ("vouchers", f"{_CARD} card amount basket"),
    Command.VOUCHER_REDEEM: ("vouchers", f"{_CARD} card amount basket"),
    Command.ADJUST: ("unit amount card reason", _CARD),
    Command.FREEZE: ("card freeze", _CARD),
    Command.LIMIT: ("card limit", _CARD),
    Command.RESET_TRIES: ("card", _CARD),
}

FLAGS: Final = {"repeat": Flag.REPEAT, "partial": Flag.PARTIAL, "access_code": Flag.ACCESS_CODE, "keyed": Flag.KEYED}

ZERO_IS_A_VALUE: Final = frozenset({"amount", "limit"})

_TOTALS_AREA: Final = Codec(request(Command.TOTALS)).names[len(Codec(request(None)).names) - 1 :]
_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "access_code": ("access_code_block",),
    "original": ("original_date", "original_sequence", "original_authorization"),
    "new_access_code": ("new_access_code_block",),
    "vouchers": tuple(f"voucher_{place}_{part}" for place in (1, 2, 3) for part in ("code", "amount")),
    "tenders": ("tender_points", "tender_stored_value", "tender_credit", "tender_external"),
    "totals": _TOTALS_AREA,
    "freeze": ("freeze_from", "freeze_to"),
}
_ALWAYS: Final = ("command", "flags", "sequence", "date", "time", "module")


class Presence(Enum):
    """What a command says of a field."""

    REQUIRED = "R"
    ALLOWED = "a"
    FORBIDDEN = ""


def parts(field: str) -> tuple[str, ...]:
    """The layout's names for a field of the table; none for one that is a flag alone."""
    if field in _PARTS:
        return _PARTS[field]
    return () if field in FLAGS else (field,)


@dataclass(frozen=True, slots=True)
class Rules:
    """One row of the table, with all that decoding needs worked out beforehand.

    `zero_bits` and `needed_bits` say of the 320 bytes, read as one number, what `flags`, `forbidden`, `needed` and the
    codec say field by field: the first must all be 0, and of each of the second at least one must not. Numbers can tell
    that something is wrong at the cost of an addition; the fields tell what.
    """

    required: frozenset[str]
    allowed: frozenset[str]
    codec: Codec
    flags: int
    needed: tuple[tuple[str, tuple[str, ...]], ...]
    forbidden: tuple[tuple[str, slice, bytes], ...]
    zero_bits: int
    needed_bits: tuple[int, ...]

    def presence(self, field: str) -> Presence:
        """What this command says of a field."""
        if field in self.required:
            return Presence.REQUIRED
        return Presence.ALLOWED if field in self.allowed else Presence.FORBIDDEN


def _rules(command: Command, required: frozenset[str], allowed: frozenset[str]) -> Rules:
    codec = Codec(request(command))
    named = {part for field in required | allowed for part in parts(field)}
    if unknown := named - set(codec.names):
        raise TypeError(f"{command.name} names fields that its layout does not have: {sorted(unknown)}")
    flags = sum(FLAGS[field].value for field in (required | allowed) & frozenset(FLAGS))
    needed = tuple((field, parts(field)) for field in FIELDS if field in required - ZERO_IS_A_VALUE)
    forbidden = tuple(
        field for field in codec.fields if field.name and field.name not in named and field.name not in _ALWAYS
    )
    flag_bits = codec.bits({"flags"}) & ~(flags << 8 * (codec.size - codec["flags"].end))
    return Rules(
        required,
        allowed - required,
        codec,
        flags,
        needed,
        tuple((field.name, field.place, bytes(field.size)) for field in forbidden),
        flag_bits | codec.bits({"", *(field.name for field in forbidden)}),
        tuple(codec.bits(parts) for _, parts in needed),
    )


FIELDS: Final = (
    *("repeat", "partial", "keyed", "unit", "reason", "amount", "cashier", "card", "access_code"),
    *("till_receipt", "till_serial", "day_close", "programme", "eligible", "original", "basket"),
    *("page", "new_access_code", "new_card", "totals", "vouchers", "tenders", "freeze", "limit"),
)
"""All fields of the table, in the order of the layout."""

RULES: Final = {
    command: _rules(command, frozenset(required.split()), frozenset(allowed.split()))
    for command, (required, allowed) in _REQUIRED_ALLOWED.items()
}
"""The table: a row for every command, reserved ones too."""
