"""Setting an issuer up, against a real database."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

import loyalty
from authsrv.keys import ISSUER_PURPOSES, KeyFault, Purpose, unwrap
from authsrv.shell.enrolment import (
    EnrolmentError,
    ModuleTraits,
    add_branch,
    add_programme,
    create_issuer,
    enroll_module,
    enroll_modules,
    init_keys,
    issue_cards,
    load_ring,
    wrapped_key,
)
from ledger.faults import BadRow, Unavailable
from ledger.shell.door import Connection, Door, open_door
from loyalty.programme import AccessCode, Kind
from loyalty.source import load_programme, parse_programme
from protocol.numbers import Suite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from conftest import Issuer

KEK = bytes(range(32))
PROGRAMMES = {
    kind: parse_programme((Path(loyalty.__file__).parent / "programmes" / f"{kind}.toml").read_text(), f"{kind}.toml")
    for kind in Kind
}
GIFT = PROGRAMMES[Kind.GIFT]
OF_OTHER_KINDS = [programme for kind, programme in PROGRAMMES.items() if kind is not Kind.GIFT]
NUMBER = "6006491000000000015"
OTHER = "6006491000000000023"
CALLS = itertools.count()


def random(size: int) -> bytes:
    """Bytes that never come twice."""
    return hashlib.shake_128(b"%d" % next(CALLS)).digest(size)


@pytest.fixture
async def owner(issuer: Issuer) -> AsyncIterator[Door]:
    """The door to a fresh schema, as its owner."""
    async with open_door(issuer.owner_dsn, schema=issuer.schema, connections=2) as opened:
        yield opened


@pytest.fixture
async def enrolled(owner: Door) -> Door:
    """The same with an issuer, a branch, keys and a programme."""

    async def work(connection: Connection) -> None:
        await create_issuer(connection, 7, "Corner Shop", zone="Europe/Riga", code="EUR", group=70)
        await add_branch(connection, 1, "Centre")
        await init_keys(connection, KEK, random)
        await add_programme(connection, GIFT)

    await owner.run(work)
    return owner


async def test_the_currency_brings_its_number_and_digits(owner: Door) -> None:
    """The yen is 392 in ISO 4217 and has no minor unit."""

    async def work(connection: Connection) -> asyncpg.Record | None:
        await create_issuer(connection, 4294967295, "Mise", zone="Asia/Tokyo", code="JPY", group=1)
        return await connection.fetchrow(
            "select number, name, zone, currency, code, exponent, group_number from issuer"
        )

    row = await owner.run(work)
    assert row is not None
    assert tuple(row) == (4294967295, "Mise", "Asia/Tokyo", 392, "JPY", 0, 1)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"number": 0}, "issuer number 0"),
        ({"number": 2**32}, "4294967296"),
        ({"group": 0}, "group number 0"),
        ({"zone": "Europe/Atlantis"}, "Europe/Atlantis"),
        ({"zone": "../etc/passwd"}, "no zone"),
        ({"code": "eur"}, "eur"),
        ({"code": "XAU"}, "XAU"),
    ],
)
async def test_an_impossible_issuer_is_refused_with_the_value(
    owner: Door, wrong: dict[str, object], named: str
) -> None:
    """The operator reads which value cannot be, and nothing is written."""
    given = {"number": 7, "name": "Shop", "zone": "Europe/Riga", "code": "EUR", "group": 1} | wrong
    with pytest.raises(EnrolmentError, match=named):
        await owner.run(lambda connection: create_issuer(connection, **given))  # type: ignore[arg-type]
    assert await owner.run(lambda connection: connection.fetchval("select count(*) from issuer")) == 0


async def test_a_schema_has_one_issuer_for_ever(enrolled: Door) -> None:
    """Another issuer needs another schema; the message says who is there."""
    with pytest.raises(EnrolmentError, match="issuer 7, Corner Shop"):
        await enrolled.run(lambda c: create_issuer(c, 8, "Other", zone="Europe/Riga", code="EUR", group=71))


async def test_nothing_can_be_set_up_before_there_is_an_issuer(owner: Door) -> None:
    """Keys belong to an issuer: its number goes into every token."""
    with pytest.raises(EnrolmentError, match="db init"):
        await owner.run(lambda connection: init_keys(connection, KEK, random))


async def test_a_branch_number_is_given_once(enrolled: Door) -> None:
    """The second one is refused and the first keeps its name."""
    with pytest.raises(EnrolmentError, match="branch 1 is there already, as Centre"):
        await enrolled.run(lambda connection: add_branch(connection, 1, "Harbour"))
    with pytest.raises(EnrolmentError, match="2147483648"):
        await enrolled.run(lambda connection: add_branch(connection, 2**31, "Harbour"))
    for name in ("", "x" * 65):
        with pytest.raises(EnrolmentError, match="1 to 64 letters"):
            await enrolled.run(lambda connection, name=name: add_branch(connection, 2, name))


async def test_a_programme_is_stored_as_it_was_loaded(enrolled: Door) -> None:
    """What the switch reads back is the same programme."""
    text = await enrolled.run(lambda c: c.fetchval("select document from programme_versions"))
    assert load_programme(json.loads(text), "the database") == GIFT


async def test_versions_only_go_forward(enrolled: Door) -> None:
    """A later version on a later day is added under the same number; an equal or earlier one is refused."""
    later = replace(GIFT, version=2, effective_from=date(2026, 1, 1))
    first = await enrolled.run(lambda c: c.fetchval("select number from programmes"))
    assert await enrolled.run(lambda c: add_programme(c, later)) == first
    for wrong in (
        later,
        replace(later, effective_from=date(2027, 1, 1)),
        replace(later, version=3),
        replace(later, version=3, effective_from=date(2025, 12, 31)),
    ):
        with pytest.raises(EnrolmentError, match="version 2 of gift"):
            await enrolled.run(lambda c, wrong=wrong: add_programme(c, wrong))  # type: ignore[misc]
    assert await enrolled.run(lambda c: c.fetchval("select count(*) from programme_versions")) == 2


async def test_a_programme_in_another_currency_is_refused(enrolled: Door) -> None:
    """A card's amounts could not be told from the issuer's."""
    with pytest.raises(EnrolmentError, match="PLN and the issuer in EUR"):
        await enrolled.run(lambda c: add_programme(c, replace(GIFT, name="other", currency="PLN")))
    assert await enrolled.run(lambda c: c.fetchval("select count(*) from programmes")) == 1


async def test_a_version_of_another_kind_is_refused(enrolled: Door) -> None:
    """Cards that hold money would be asked for visits, or for a limit."""
    assert {other.name for other in OF_OTHER_KINDS} == {"visits", "credit"}
    for other in OF_OTHER_KINDS:
        later = replace(other, name="gift", version=2, effective_from=date(2026, 1, 1))
        with pytest.raises(EnrolmentError, match=r"gift is for cards of the kind gift, .* another name"):
            await enrolled.run(lambda c, later=later: add_programme(c, later))  # type: ignore[misc]
        await enrolled.run(lambda c, other=other: add_programme(c, other))  # type: ignore[misc]
        with pytest.raises(EnrolmentError, match=f"{other.name} is for cards of the kind {other.kind.value}, "):
            await enrolled.run(
                lambda c, name=other.name: add_programme(  # type: ignore[misc]
                    c, replace(GIFT, name=name, version=2, effective_from=date(2026, 1, 1))
                )
            )
    kinds = "select array_agg(document ->> 'kind' order by programme) from programme_versions"
    assert await enrolled.run(lambda c: c.fetchval(kinds)) == ["gift", *(other.kind for other in OF_OTHER_KINDS)]


async def test_the_keys_are_made_once(enrolled: Door) -> None:
    """One key for each purpose, none of them in plain; a second run changes nothing."""
    rows = await enrolled.run(lambda c: c.fetch("select * from keys order by purpose"))
    assert {(row["purpose"], row["owner"], row["version"]) for row in rows} == {
        *((purpose.value, 0, 1) for purpose in ISSUER_PURPOSES),
        ("group", 70, 1),
    }
    with pytest.raises(EnrolmentError, match="made already"):
        await enrolled.run(lambda c: init_keys(c, KEK, random))
    assert await enrolled.run(lambda c: c.fetch("select * from keys order by purpose")) == rows


async def test_two_equal_keys_are_refused(owner: Door) -> None:
    """A generator that is stuck is noticed before anything is kept under its keys."""
    await owner.run(lambda c: create_issuer(c, 7, "Shop", zone="Europe/Riga", code="EUR", group=1))
    with pytest.raises(BadRow, match="keys_check_value_key"):
        await owner.run(lambda c: init_keys(c, KEK, bytes))
    assert await owner.run(lambda c: c.fetchval("select count(*) from keys")) == 0


async def test_another_key_encryption_key_opens_nothing(enrolled: Door) -> None:
    """The message says what is wrong."""
    with pytest.raises(KeyFault, match="not the one that this database was set up with"):
        await enrolled.run(lambda c: load_ring(c, bytes(32)))


async def test_a_module_gets_the_key_that_the_database_keeps_wrapped(enrolled: Door) -> None:
    """What the module is given is what the switch will find, and the group's key is the group's."""
    identity = await enrolled.run(
        lambda c: enroll_module(
            c, KEK, (1001, 1, "Till 1"), traits=ModuleTraits(suite=Suite.SHARED_KEY, columns=32), random=random
        )
    )
    assert (identity.module, identity.generation, identity.suite, identity.group) == (1001, 1, Suite.SHARED_KEY, 70)
    rows = await enrolled.run(lambda c: c.fetch("select * from switch_keys where purpose in ('module', 'group')"))
    opened = {(row["purpose"], row["owner"]): unwrap(KEK, wrapped_key(row)) for row in rows}
    assert opened == {(Purpose.MODULE, 1001): identity.root_key, (Purpose.GROUP, 70): identity.group_key}
    record = await enrolled.run(lambda c: c.fetchrow("select * from switch_modules"))
    assert record is not None
    assert (record["branch"], record["name"], record["suite"], record["columns"]) == (1, "Till 1", 1, 32)


async def test_enrolling_is_all_or_nothing(enrolled: Door) -> None:
    """One module that is there already, or one without a branch, keeps all of them out."""
    traits = ModuleTraits()
    await enrolled.run(lambda c: enroll_module(c, KEK, (5, 1, "Till"), random=random))
    with pytest.raises(EnrolmentError, match="module 5 is enrolled already"):
        await enrolled.run(lambda c: enroll_modules(c, KEK, [(6, 1, "a"), (5, 1, "b")], traits=traits, random=random))
    with pytest.raises(EnrolmentError, match="no branch 9"):
        await enrolled.run(lambda c: enroll_modules(c, KEK, [(6, 1, "a"), (7, 9, "b")], traits=traits, random=random))
    with pytest.raises(EnrolmentError, match="module number 0"):
        await enrolled.run(lambda c: enroll_modules(c, KEK, [(0, 1, "a")], traits=traits, random=random))
    assert await enrolled.run(lambda c: c.fetch("select number from modules")) == [(5,)]
    assert await enrolled.run(lambda c: c.fetch("select owner from keys where purpose = 'module'")) == [(5,)]


async def test_the_switches_are_told_of_each_change(enrolled: Door) -> None:
    """The count that every batch compares moves with a new module."""
    before = await enrolled.run(lambda c: c.fetchval("select registry from switch_issuer"))
    await enrolled.run(lambda c: enroll_module(c, KEK, (5, 1, "Till"), random=random))
    assert await enrolled.run(lambda c: c.fetchval("select registry from switch_issuer")) > before


async def test_issued_cards_are_known_by_token_and_verifier_alone(enrolled: Door) -> None:
    """The ring that the switch makes finds the card by its number and proves its code; nothing is active."""
    ring = await enrolled.run(lambda c: load_ring(c, KEK))
    ids = await enrolled.run(lambda c: issue_cards(c, ring, "gift", [(NUMBER, "1234"), (OTHER, None)]))
    rows = await enrolled.run(
        lambda c: c.fetch(
            "select n.token, n.token_key, n.live, c.* from card_numbers n join cards c on c.id = n.card order by c.id"
        )
    )
    assert [row["id"] for row in rows] == ids
    assert [row["status"] for row in rows] == [0, 0]
    assert [row["token"] for row in rows] == [ring.token(n.encode().ljust(20, b"\0")) for n in (NUMBER, OTHER)]
    coded, plain = rows
    assert ring.verifies(coded["id"], coded["verifier"], coded["verifier_key"], "1234")
    assert not ring.verifies(coded["id"], coded["verifier"], coded["verifier_key"], "1235")
    assert (plain["verifier"], plain["verifier_key"]) == (None, None)


async def test_a_number_is_issued_once(enrolled: Door) -> None:
    """One known number among two, and neither is issued; the message shows no number."""
    ring = await enrolled.run(lambda c: load_ring(c, KEK))
    await enrolled.run(lambda c: issue_cards(c, ring, "gift", [(NUMBER, None)]))
    with pytest.raises(EnrolmentError, match="1 of these 2 card numbers are issued already") as refused:
        await enrolled.run(lambda c: issue_cards(c, ring, "gift", [(OTHER, None), (NUMBER, None)]))
    assert NUMBER not in str(refused.value)
    assert await enrolled.run(lambda c: c.fetchval("select count(*) from cards")) == 1


@pytest.mark.parametrize(
    ("cards", "named"),
    [
        ([], "no card"),
        ([(NUMBER, None), (NUMBER, None)], "twice"),
        ([(NUMBER, None), ("1234567", None)], "card 2: the number is not 8 to 20 digits"),
        ([("1" * 21, None)], "card 1"),
        ([("١٢٣٤٥٦٧٨", None)], "card 1"),
        ([(NUMBER, "123")], "card 1: the access code is not"),
        ([(NUMBER, "1" * 13)], "card 1: the access code is not"),
    ],
)
async def test_malformed_cards_are_refused_by_their_place(
    enrolled: Door, cards: list[tuple[str, str | None]], named: str
) -> None:
    """The message leads to the card without showing its number or code."""
    ring = await enrolled.run(lambda c: load_ring(c, KEK))
    with pytest.raises(EnrolmentError, match=named):
        await enrolled.run(lambda c: issue_cards(c, ring, "gift", cards))


async def test_codes_follow_the_programme(enrolled: Door) -> None:
    """A programme that requires a code, or has none, decides it for every card; an unknown programme issues nothing."""
    ring = await enrolled.run(lambda c: load_ring(c, KEK))
    await enrolled.run(lambda c: add_programme(c, replace(GIFT, name="coded", access_code=AccessCode.REQUIRED)))
    await enrolled.run(lambda c: add_programme(c, replace(GIFT, name="bare", access_code=AccessCode.NONE)))
    with pytest.raises(EnrolmentError, match="card 1: it has no access code and the programme coded requires one"):
        await enrolled.run(lambda c: issue_cards(c, ring, "coded", [(NUMBER, None)]))
    with pytest.raises(EnrolmentError, match="card 1: it has an access code and the programme bare has none"):
        await enrolled.run(lambda c: issue_cards(c, ring, "bare", [(NUMBER, "1234")]))
    with pytest.raises(EnrolmentError, match="no programme golden"):
        await enrolled.run(lambda c: issue_cards(c, ring, "golden", [(NUMBER, None)]))


@pytest.mark.parametrize(
    "call",
    [
        "set_issuer(1, 'x', 'UTC', 978, 'EUR', 2::smallint, 1)",
        "add_branch(1, 'x')",
        "add_programme('x', 1, '2026-01-01', '{}')",
        "add_keys('{}', '{}', '{}', '{}', '{}')",
        "enroll_modules('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
        "reserve_card_ids(1)",
        "issue_cards('{}', 1, 1, '{}', 1, '{}')",
        "hold_keys()",
        "stand_still(1)",
        "set_key_state('token', 0, 1, 'ended')",
        "end_key('group', 7, 1)",
        "give_heirs(1, '{}', '{}')",
        "begin_token_key(1, '{}', '{}')",
        "forget_tokens(1, '', 1)",
        "forget_tries(1)",
        "lock_verifiers(1, 0, 1)",
        "bring_verifiers(1, '{}', '{}')",
        "rewrap_keys('{}', '{}', '{}', '{}')",
        "revoke_module(1, true)",
        "rekey_modules('{}')",
        "add_generation(1, 2, '', '')",
    ],
)
async def test_the_switch_may_set_up_nothing(door: Door, call: str) -> None:
    """Each function of this part is out of its role's reach."""
    with pytest.raises(Unavailable, match="42501"):
        await door.run(lambda connection: connection.execute(f"select {call}"))
