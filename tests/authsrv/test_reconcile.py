"""Reconciling: a busy clean ledger has no differences, and each planted error is told, and nothing else.

What is planted is planted as a superuser does it whom no trigger stops, within a transaction that is rolled back.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from back_office import active_card, trade
from shop import TILLS, Shop, as_owner, name_of
from typer.testing import CliRunner

from authsrv.amounts import Units
from authsrv.books import CHECKS, INFORMATION, MEANING, Difference, Found, told
from authsrv.shell.cli import app
from authsrv.shell.finance import look, reconcile
from authsrv.shell.settings import load_settings
from protocol.numbers import Command

if TYPE_CHECKING:
    from conftest import Issuer

    from authsrv.shell.report import Report

ALL = 1000


async def reconciled(shop: Shop) -> Report:
    """What finance is told now."""
    return await reconcile(load_settings({"database": shop.owner_dsn}, None), None, ALL)


async def test_a_busy_clean_ledger_has_no_differences(shop: Shop) -> None:
    """While tills go on asking, each look sees one moment of it, in which everything agrees."""
    await trade(shop)
    cards = [await active_card(shop, 40_000) for _ in range(4)]
    over = trio.Event()

    async def ask(till: int) -> None:
        module = shop.till(till)
        while not over.is_set():
            for card in cards:
                sold = await module.sale(card, 3)
                await module.ask(Command.REFUND, original=name_of(sold), amount=1)
                held = await module.ask(Command.HOLD, card=card, amount=5)
                await module.ask(Command.CONFIRM, original=name_of(held), amount=2)
                await module.reverse(name_of(await module.sale(card, 4)), 4)

    async with trio.open_nursery() as nursery:
        for till in TILLS:
            nursery.start_soon(ask, till)
        looks = [await reconciled(shop) for _ in range(4)]
        over.set()
    assert [look.values["differences"] for look in looks] == [[]] * 4
    assert not any(look.complaints for look in looks)
    redeemed = [look.values["units"]["EUR"]["redeemed"] for look in looks]
    assert redeemed == sorted(set(redeemed)), "nothing happened meanwhile"
    assert all(sum(unit.values()) == 0 for look in looks for unit in look.values["units"].values())


async def test_what_is_to_be_known_is_told_apart(shop: Shop) -> None:
    """An open hold, a card that owes, totals that differed, an expired hold and an ended pass are no differences."""
    cards = await trade(shop)
    await shop.query("update holds set expires_at = clock_timestamp() where ended is null")
    await shop.query(
        "update cards set valid_until = (clock_timestamp() at time zone zone)::date - 1 from issuer where id = $1",
        cards["visits"],
    )
    await shop.query("update passes set lapses_on = (select valid_until + 1 from cards where id = card)")
    report = await reconciled(shop)
    told = {what: (each["count"], each["sums"]) for what, each in report.values["information"].items()}
    assert told == {
        "open holds": (1, {"EUR": 20}),
        "expired holds that nobody has ended yet": (1, {"EUR": 20}),
        "cards that owe": (1, {"EUR": 500}),
        "losses": (0, {}),
        "passes that have ended and not lapsed yet": (1, {"VISIT": 9}),
        "totals that a module counted otherwise": (1, {}),
    }
    assert report.values["differences"] == []
    # Loads 50, 10 and 9; 9 paid out. Sold 7, 4, 2.50, 12, 15. The reload that was undone had been spent: 5 are owed.
    assert report.values["units"]["EUR"] == {
        "liability": 5000 - 700 - 400 - 250, "receivable": -1200, "owed": -500, "tender": -6000,
        "redeemed": 700 + 400 + 250 + 1200 + 1500,
    }  # fmt: skip
    assert report.values["units"]["VISIT"] == {"liability": 9, "tender": -10, "redeemed": 1}
    assert "  liability                  36.50  what is left on cards, to be given for" in report.lines


BOOKS = {"balance", "trial balance"}
PLANTED: list[tuple[set[str], str]] = [
    # Balances
    (BOOKS, "update cards set value = value + 1 where id = {gift}"),
    ({"held", *BOOKS}, "update cards set unit = null, value = 0, held = 0 where id = {gift}"),
    ({"held"}, "update cards set held = held + 1 where id = {gift}"),
    (
        {"held"},
        (
            "update holds set ended = 4, ended_at = clock_timestamp(), expires_at = clock_timestamp() where ended"
            " is null"
        ),
    ),
    ({"account"}, "update cards set unit = 32769 where id = {new}"),
    (
        {"closing", "trial balance"},
        (
            "insert into closed_days (day, closed_at) values ({today} - 1, now()), ({today} - 2, now());insert "
            "into closing_balances values ({today} - 1, 100, 978, -5)"
        ),
    ),
    ({"closing", "trial balance"}, "insert into closed_days (day, closed_at) values ({today}, now())"),
    ({"floor"}, "update cards set floor = -100 where id = {gift}"),
    ({"floor"}, "update cards set floor = -200001 where id = {credit}"),
    ({"below", "floor"}, "delete from authorizations where command = 82 and card = {credit}"),
    ({"below", "held"}, "update cards set held = value + 1 where id = {gift}"),
    (
        {"below"},
        (
            "update authorizations a set decided_at = (select max(decided_at) + '1 microsecond' from "
            "authorizations where card = a.card) where card = {credit} and command = 19 and approved = 1200"
        ),
    ),
    # What was moved
    ({"moved", *BOOKS}, "update authorizations set postings = null where {sale}"),
    ({"moved"}, "update authorizations set approved = 699, requested = 699 where {sale}"),
    ({"not approved"}, "update authorizations set approved = 0, result = 51, reason = 5101 where {sale}"),
    ({"accounts"}, "update authorizations set postings = array[(1, 102, 978, 700)::posted::posting] where {sale}"),
    (
        {"accounts", "moved", *BOOKS},
        (
            "update authorizations set postings = array[(1, 101, 978, 700)::posted::posting] where command = 20 "
            "and card = {gift} and approved = 20"
        ),
    ),
    (
        {"unit", *BOOKS},
        ("update authorizations set postings = array[(1, 101, 32769, 700)::posted::posting] where {sale}"),
    ),
    ({"unit"}, "update authorizations set unit = 32769 where {sale}"),
    (
        {"balance", "reference", "unit"},
        ("update authorizations set card = 999999 where command = 17 and card = {closed}"),
    ),
    ({"reference"}, "update authorizations set branch = 77 where {sale}"),
    (
        {"reference"},
        ("update authorizations set programme = (select programme from cards where id = {credit}) where {sale}"),
    ),
    ({"approved"}, "update authorizations set requested = 701 where {sale}"),
    ({"approved"}, "update authorizations set approved = 1 where command = 19 and result = 51"),
    ({"answer"}, "update authorizations set answer = null where {sale}"),
    ({"answer"}, "update authorizations set digest = null where command = 16 or {sale}"),
    ({"number"}, "update authorizations set number = number + 1 where {sale}"),
    (
        {"number twice"},
        (
            "drop index {index}; update authorizations set number = (select number from authorizations where "
            "{reversal}) where {sale}"
        ),
    ),
    ({"day"}, "update authorizations set booked_on = booked_on - 1 where {sale}"),
    ({"day"}, "update authorizations set booked_on = booked_on + 2 where {sale}"),
    ({"page"}, "insert into pages select m, d, s, 2, 'x' from {nobody} n(m, d, s)"),
    # What was undone
    ({"reversal"}, "update authorizations set approved = 49 where {reversal}"),
    ({"reversal"}, "update authorizations set postings = array[(102, 1, 978, 50)::posted::posting] where {reversal}"),
    ({"reversal", *BOOKS}, "update authorizations set postings = null where {reversal}"),
    (
        {"reversal", *BOOKS},
        (
            "update authorizations set postings = array[(101, 1, 978, 50)::posted::posting] where command = 24 "
            "and reason = 3"
        ),
    ),
    ({"reversal"}, "delete from undos where reversal and amount = 50"),
    ({"reversal"}, "delete from authorizations where tombstone"),
    (
        {"reversal", "undo", "undone beyond"},
        (
            "delete from authorizations where command = 19 and approved = 50; "
            "update cards set value = value + 50 where id = {gift}"
        ),
    ),
    (
        {"undo"},
        (
            "insert into undos select module, date, sequence, false, 1, module, date, 999999 from authorizations "
            "where {sale}"
        ),
    ),
    ({"undo", "undo forgotten", "undone beyond"}, "update undos set amount = 501 where not reversal and amount = 100"),
    ({"undo forgotten"}, "delete from undos where not reversal and amount = 100"),
    ({"undo forgotten"}, "delete from undos where not reversal and amount = -200"),
    ({"debt", "undo forgotten"}, "delete from undos where not reversal and amount = 300"),
    # Holds
    ({"hold"}, "update holds set ended = 2 where ended = 1"),
    ({"held", "hold"}, "update holds set ended = null, ended_at = null where ended = 2"),
    ({"hold"}, "update holds set ended = 4, ended_at = expires_at where ended = 3"),
    ({"hold"}, "update holds set amount = amount + 1 where ended = 2"),
    ({"hold", "hold missing"}, "delete from holds where ended = 1"),
    ({"hold"}, "insert into holds select m, d, s, {gift}, 978, 5, now(), 4, now() from {nobody} n(m, d, s)"),
    # Credit
    ({"charge", "debt"}, "delete from charges where amount = 1200"),
    ({"charge", "debt"}, "update charges set amount = 1100 where amount = 1200"),
    ({"charge"}, "update charges set due_on = {today} - 1 where amount = 1200"),
    (
        {"charge", "debt"},
        (
            "insert into charges (card, module, date, sequence, due_on, amount) select {credit}, m, d, s, {today}"
            " + 9, 5 from {nobody} n(m, d, s)"
        ),
    ),
    # Passes, cards, totals
    ({"pass"}, "update passes set lapses_on = null where card = {visits}"),
    ({"pass"}, "update cards set valid_until = valid_until + 9 where id = {visits}"),
    ({"pass"}, "delete from passes where card = {visits}"),
    (
        {"lapse", *BOOKS},
        (
            "insert into lapses (card, unit, amount, ended_on, decided_at, booked_on) values ({gift}, 32769, 1, "
            "{today} - 2, now(), {today})"
        ),
    ),
    ({"card"}, "update cards set status = 1 where id = {new}"),
    ({"card"}, "update cards set status = 0 where id = {spent}"),
    ({"card"}, "update cards set status = 3 where id = {spent}"),
    ({"card"}, "update cards set status = 1 where id = {closed}"),
    ({"block"}, "update cards set blocked = null where id = {new}"),
    ({"block"}, "update cards set blocked = 2 where id = {spent}"),
    ({"block"}, "update cards set blocked = 2 where id = {visits}"),
    ({"card number"}, "update card_numbers set card = {gift} where card = {spent}"),
    ({"totals"}, "delete from totals"),
    ({"totals"}, "update totals set asked = counted"),
    ({"late totals"}, "update totals set counted[3].count = 17"),
    # Operators
    (
        {"trail"},
        (
            "insert into audit_trail (who, why, act, detail, module, date, sequence)"
            " values ('x', '', 'card block', '{{}}', 9900, {today}, 1)"
        ),
    ),
    ({"trail"}, "update modules set operators = true where number = 9001"),
]
WORDS = {
    "sale": "command = 19 and card = {gift} and approved = 700",
    "reversal": "command = 24 and card = {gift} and approved = 50 and reason = 0",
    "nobody": "(select 1001, {today}, 999999)",
}


async def test_each_planted_error_is_found_and_nothing_else(shop: Shop, issuer: Issuer) -> None:
    """Whatever is changed behind the ledger's back shows as what it is."""
    cards = await trade(shop)
    today = await shop.today()
    [sale] = await shop.query("select sequence from authorizations where command = 19 and approved = 700")
    known = cards | {"today": f"'{today}'::date", "index": f"authorizations_{today:%Y%m}_number_idx"}
    words = known | {word: sql.format(**known) for word, sql in WORDS.items()}

    async def plant(connection: Any) -> list[tuple[str, set[str], set[str]]]:
        seen = []
        for sorts, sql in PLANTED:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("set local session_replication_role = replica")
            await connection.execute(sql.format(**words))
            found = await look(connection, today - dt.timedelta(days=40), ALL)
            await transaction.rollback()
            seen.append((sql, sorts, {each.sort for each in found}))
            if sql.endswith(" where {sale}") and not sorts & {*BOOKS, "number twice"}:
                assert [[(row.module, row.sequence, row.card) for row in each.rows] for each in found] == [
                    [(TILLS[0], sale["sequence"], cards["gift"])]
                ]
        assert not await look(connection, today - dt.timedelta(days=40), ALL)
        return seen

    seen = await as_owner(issuer.admin_dsn, plant)
    assert [each for each in seen if each[1] != each[2]] == []
    assert {sort for _, sorts, _ in seen for sort in sorts} == MEANING.keys()


async def test_the_exact_rows_are_told_and_the_exit_code_is_1(shop: Shop, issuer: Issuer) -> None:
    """By name, authorization number and card, as many as were asked for, with a count of the rest."""
    cards = await trade(shop)
    [sale] = await shop.query("select sequence, number, date from authorizations where command = 19 and approved = 700")
    await as_owner(
        issuer.admin_dsn,
        lambda connection: connection.execute(
            "set session_replication_role = replica;"
            "update authorizations set approved = 699, requested = 699 where command = 19 and approved = 700;"
            "update cards set status = 1 where status = 0"
        ),
    )
    words = ["reconcile", "--most", "1", "--database", issuer.owner_dsn]
    done = await trio.to_thread.run_sync(lambda: CliRunner().invoke(app, words))
    assert done.exit_code == 1
    name = f"{TILLS[0]}/{sale['date']}/{sale['sequence']}"
    number = f"{sale['number']:012d}"
    card = cards["gift"]
    assert f"\n  {name}, authorization {number}, card {card}, found 7.00 EUR expected 6.99 EUR\n" in done.stdout
    assert "\ncard: 3, " in done.stdout  # those that nobody has bought yet
    assert "\n  and 2 more\n" in done.stdout
    assert "6.99" not in done.stderr
    assert done.stderr.startswith("authsrv: 4 differences")
    as_json = await trio.to_thread.run_sync(lambda: CliRunner().invoke(app, [*words, "--json"]))
    assert as_json.exit_code == 1
    told = json.loads(as_json.stdout)
    assert [(each["sort"], each["count"], len(each["rows"])) for each in told["differences"]] == [
        ("moved", 1, 1),
        ("card", 3, 1),
    ]
    assert told["differences"][0]["rows"] == [
        {
            "module": TILLS[0], "date": str(sale["date"]), "sequence": sale["sequence"], "number": sale["number"],
            "card": card, "unit": 978, "found": 700, "expected": 699,
        }
    ]  # fmt: skip


def test_a_difference_is_told_by_what_it_is_about() -> None:
    """A name, a lapse that has no module, or a day; and what has no unit is no amount."""
    rows = (
        Difference(1001, "2026-01-31", 7, 313000000015, 5, None, 978, 1200, 1500),
        Difference(0, "2026-01-31", 7, None, 5, None, 0x8001, 3),
        Difference(date="2026-01-31", kind=100, unit=978, found=-5, expected=0),
    )
    assert told([Found("moved", 9, rows)], Units(978, "EUR", 2))[1:] == (
        "  1001/2026-01-31/7, authorization 313000000015, card 5, found 12.00 EUR expected 15.00 EUR",
        "  lapse 7 of 2026-01-31, card 5, found 3 VISIT",
        "  2026-01-31, account tender, found -0.05 EUR expected 0.00 EUR",
        "  and 6 more",
    )


async def test_the_switch_reads_none_of_it(shop: Shop) -> None:
    """What finance sees is not the switch's."""

    async def ask(connection: Any) -> None:
        for check in CHECKS:
            given = f"{check.relation}('2026-01-01')" if check.dated else check.relation
            with pytest.raises(Exception, match="permission denied"):
                await connection.fetch(f"select * from {given}")  # noqa: S608 - ours

    await as_owner(shop.switch_dsn, ask)


def test_the_page_about_books_tells_every_sort_of_difference() -> None:
    """Each has a row, in the order in which they are told, and there is no row for another."""
    page = (Path(__file__).parents[2] / "deploy" / "BOOKS.md").read_text("utf-8")
    assert re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE) == list(MEANING)
    assert re.findall(r"^\| (?!list|sort|-)([a-z][^`|]+) \|", page, re.MULTILINE) == list(INFORMATION)
