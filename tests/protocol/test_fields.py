"""The field table: each rule of it for each command, generated from the table, and rows chosen by hand."""

import datetime
from typing import Any

import pytest

from protocol.fields import FIELDS, FLAGS, RULES, ZERO_IS_A_VALUE, Presence, parts
from protocol.layout import AREAS
from protocol.messages import (
    FormatError,
    Freeze,
    OriginalName,
    Request,
    Tenders,
    Totals,
    Voucher,
    decode_request,
)
from protocol.numbers import Command, Flag, GivenReason, Reason

A_NAME = OriginalName(datetime.date(2026, 11, 21), 41)

# One good value for each field of the table, as a request holds it.
GOOD: dict[str, dict[str, Any]] = {
    "repeat": {"flags": Flag.REPEAT},
    "partial": {"flags": Flag.PARTIAL},
    "keyed": {"flags": Flag.KEYED},
    "unit": {"unit": 978},
    "reason": {"reason": GivenReason.MISTAKE},
    "amount": {"amount": 1750},
    "cashier": {"cashier": 5},
    "card": {"card": "6371120000000000017"},
    "access_code": {"flags": Flag.ACCESS_CODE, "access_code_block": b"\x01" * 16},
    "till_receipt": {"till_receipt": "R-1"},
    "till_serial": {"till_serial": "T-1"},
    "day_close": {"day_close": 12},
    "programme": {"programme": 3},
    "eligible": {"eligible": 100},
    "original": {"original": A_NAME},
    "basket": {"basket": b"\x02" * 16},
    "page": {"page": 1},
    "new_access_code": {"new_access_code_block": b"\x03" * 16},
    "new_card": {"new_card": "6371120000000000025"},
    "totals": {"totals": Totals(A_NAME, A_NAME, ((0, 0),) * 10)},
    "vouchers": {"vouchers": (Voucher("V", 1),)},
    "tenders": {"tenders": Tenders(points=1)},
    "freeze": {"freeze": Freeze(A_NAME.date, A_NAME.date)},
    "limit": {"limit": 5},
}


def with_fields(command: Command, names: frozenset[str]) -> Request:
    values: dict[str, Any] = {"flags": Flag(0)}
    for name in names:
        good = dict(GOOD[name])
        values["flags"] |= good.pop("flags", Flag(0))
        values |= good
    values.setdefault("eligible", None)
    return Request(command=command, module=1, date=A_NAME.date, sequence=42, **values)


def pairs(*which: Presence) -> list[Any]:
    return [
        pytest.param(command, field, id=f"{command.name} {field}")
        for command, rules in RULES.items()
        for field in FIELDS
        if rules.presence(field) in which
    ]


def test_every_command_and_field_is_in_the_table() -> None:
    """The table has a row for each command number, and speaks of each part of the layout."""
    assert set(RULES) == set(Command)
    assert set(GOOD) == set(FIELDS)
    for command in Command:
        layout = set(RULES[command].codec.names)
        always = {"command", "flags", "sequence", "date", "time", "module"}
        assert layout <= always | {part for field in FIELDS for part in parts(field)}


@pytest.mark.parametrize("command", Command)
def test_required_fields_are_enough(command: Command) -> None:
    """A request with its required fields alone is well-formed."""
    wanted = with_fields(command, RULES[command].required)
    assert decode_request(wanted.encode()) == wanted


@pytest.mark.parametrize("command", Command)
def test_all_allowed_fields_together(command: Command) -> None:
    """A request with everything that its command allows is well-formed."""
    wanted = with_fields(command, RULES[command].required | RULES[command].allowed)
    assert decode_request(wanted.encode()) == wanted


@pytest.mark.parametrize(("command", "field"), pairs(Presence.REQUIRED))
def test_required(command: Command, field: str) -> None:
    """Without one of its required fields a request is refused; 0 is a value of an amount and a limit."""
    plain = with_fields(command, RULES[command].required - {field}).encode()
    if field in ZERO_IS_A_VALUE:
        assert getattr(decode_request(plain), field) == 0
        return
    with pytest.raises(FormatError) as caught:
        decode_request(plain)
    assert (caught.value.reason, caught.value.field) == (Reason.FIELD_MISSING, field)


@pytest.mark.parametrize(("command", "field"), pairs(Presence.FORBIDDEN))
def test_forbidden(command: Command, field: str) -> None:
    """Any byte of a field that the command forbids is refused, and so is its flag."""
    rules = RULES[command]
    good = with_fields(command, rules.required).encode()
    if field in FLAGS:
        flagged = bytearray(good)
        flagged[3] |= FLAGS[field]
        with pytest.raises(FormatError) as caught:
            decode_request(bytes(flagged))
        assert (caught.value.reason, caught.value.field) == (Reason.FIELD_FORBIDDEN, field)
    for part in parts(field):
        if part not in rules.codec.names:
            continue  # in the area of another command: see the unused bytes below
        place = rules.codec[part]
        for at in range(place.at, place.end):
            with pytest.raises(FormatError) as caught:
                decode_request(good[:at] + b"\x01" + good[at + 1 :])
            assert (caught.value.reason, caught.value.field) == (Reason.FIELD_FORBIDDEN, part)


@pytest.mark.parametrize("command", Command)
def test_unused_bytes(command: Command) -> None:
    """Every byte that the command's layout does not use must be zero, in the area of other commands too."""
    rules = RULES[command]
    good = with_fields(command, rules.required).encode()
    unused = [at for field in rules.codec.fields if not field.name for at in range(field.at, field.end)]
    assert set(range(140, 144)) <= set(unused)
    for at in unused:
        with pytest.raises(FormatError) as caught:
            decode_request(good[:at] + b"\x80" + good[at + 1 :])
        assert caught.value.reason is Reason.FIELD_FORBIDDEN


R, A, F = Presence.REQUIRED, Presence.ALLOWED, Presence.FORBIDDEN


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (Command.ECHO, dict.fromkeys(FIELDS, F)),
        (Command.PAGE, dict.fromkeys(FIELDS, F) | {"original": R, "page": R}),
        (Command.SALE, {"amount": R, "card": R, "access_code": A, "partial": A, "eligible": A, "original": F}),
        (Command.BALANCE, {"card": R, "amount": F, "partial": F, "access_code": A}),
        (Command.ACTIVATE, {"card": R, "amount": A, "original": F}),
        (Command.RELOAD, {"card": R, "amount": R, "original": F}),
        (Command.REVERSE, {"original": R, "amount": A, "card": A, "reason": A, "access_code": F, "eligible": F}),
        (Command.REFUND, {"original": R, "amount": R, "card": A, "reason": F}),
        (Command.REPRINT, {"original": R, "card": F, "amount": F}),
        (Command.BLOCK, {"card": R, "reason": R}),
        (Command.ADJUST, {"card": R, "reason": R, "amount": R}),
        (Command.SALE, {"reason": F, "vouchers": F, "tenders": F}),
        (Command.TOTALS, {"unit": R, "totals": R, "card": F}),
    ],
)
def test_rows_chosen_by_hand(command: Command, expected: dict[str, Presence]) -> None:
    """What the business asks of these commands, written down a second time."""
    assert {field: RULES[command].presence(field) for field in expected} == expected


def test_reason_is_for_four_commands() -> None:
    """A person's reason goes with block, unblock, reverse and adjust alone."""
    with_reason = {command for command in Command if RULES[command].presence("reason") is not F}
    assert with_reason == {Command.BLOCK, Command.UNBLOCK, Command.REVERSE, Command.ADJUST}


def test_an_area_is_named_by_its_commands_alone() -> None:
    """A command whose layout has an area of its own also has fields of it in the table, and no other has."""
    in_area = set(FIELDS[FIELDS.index("page") :])
    for command, rules in RULES.items():
        assert bool((rules.required | rules.allowed) & in_area) == (command in AREAS)
