"""Exporting: a journal of closed days whose balances are the ledger's, to which later days can be added."""

from __future__ import annotations

import csv
import datetime as dt
import io
import subprocess
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import trio
from back_office import trade
from beancount import loader
from beancount.core.data import Transaction
from books import MODULE, TENDER, VALUE, names, postings, record
from shop import Shop, as_owner
from typer.testing import CliRunner

from authsrv.amounts import Units
from authsrv.journal import Chart, Dialect, Entry, Journal, Line, opened
from authsrv.shell.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conftest import Issuer

EUR = 978
BOTH = pytest.mark.parametrize("detail", [(), ("--detail",)], ids=["by day", "by authorization"])
ROOTS = {
    "assets:tender": "tender", "income:redeemed": "redeemed", "income:lapsed": "lapsed", "assets:owed": "owed",
    "liabilities:cards": "value", "assets:credit": "value",
}  # fmt: skip


async def run(shop: Shop, *words: str) -> Any:
    """The command's result."""
    given = ["export", *words, "--database", shop.owner_dsn]
    return await trio.to_thread.run_sync(lambda: CliRunner().invoke(app, given))


@pytest.fixture
async def past(shop: Shop, issuer: Issuer) -> Shop:
    """A shop whose trade lies one to three days back, with a pass that lapsed yesterday."""
    cards = await trade(shop)

    yesterday = await shop.today() - dt.timedelta(days=1)

    async def go_back(connection: Any) -> None:
        await connection.execute("set session_replication_role = replica")
        await connection.execute("update cards set valid_until = $2 where id = $1", cards["visits"], yesterday)
        await connection.execute("update passes set lapses_on = $1", yesterday)
        assert await connection.fetchval("select lapse_passes(10)") == 1
        await connection.execute("update lapses set booked_on = booked_on - 1")
        await connection.execute(
            """update authorizations set booked_on = booked_on - (1 + sequence % 3)::int,
                                         decided_at = decided_at - (1 + sequence % 3) * interval '1 day'"""
        )

    await as_owner(issuer.admin_dsn, go_back)
    return shop


async def ledger(shop: Shop) -> dict[tuple[str, str], Decimal]:
    """What the ledger has on its accounts, as a bookkeeper signs it, by account kind and unit."""
    rows = await shop.query("select name, unit, balance from trial_balance where balance <> 0")
    return {
        (row["name"], "EUR" if row["unit"] == EUR else "VISIT"): -Decimal(row["balance"]).scaleb(
            -2 if row["unit"] == EUR else 0
        )
        for row in rows
    }


def by_kind(balances: Iterable[tuple[str, str, Decimal]]) -> dict[tuple[str, str], Decimal]:
    """Balances of a journal's accounts, summed by the ledger's kinds."""
    sums: Counter[tuple[str, str]] = Counter()
    for account, unit, amount in balances:
        [kind] = [kind for root, kind in ROOTS.items() if account.lower().startswith(root)]
        sums[kind, unit] += amount  # type: ignore[assignment]
    return {key: Decimal(amount) for key, amount in sums.items() if amount}


def beans(file: Path) -> list[tuple[str, str, Decimal]]:
    """Every posting of a journal of beancount, which finds no mistake in it."""
    entries, errors, _ = loader.load_file(str(file))
    assert errors == []
    return [
        (posting.account, posting.units.currency, posting.units.number)
        for entry in entries
        if isinstance(entry, Transaction)
        for posting in entry.postings
    ]


def hledger(file: Path, *words: str) -> str:
    """What hledger prints about a journal."""
    done = subprocess.run(["hledger", "-f", str(file), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@BOTH
@pytest.mark.system
async def test_hledger_has_our_balances(past: Shop, tmp_path: Path, detail: tuple[str, ...]) -> None:
    """Strictly: every account and commodity declared, every transaction balanced, every assertion kept."""
    file = tmp_path / "books.journal"
    assert (await run(past, "--format", "hledger", "--output", str(file), *detail)).exit_code == 0
    hledger(file, "check", "--strict")
    rows = list(csv.reader(io.StringIO(hledger(file, "print", "-O", "csv"))))
    place = {title: rows[0].index(title) for title in ("account", "commodity", "amount")}
    told = by_kind((row[place["account"]], row[place["commodity"]], Decimal(row[place["amount"]])) for row in rows[1:])
    assert told == await ledger(past)
    assert ("lapsed", "VISIT") in told
    wrong = tmp_path / "wrong.journal"
    text = file.read_text("utf-8")
    wrong.write_text(text.replace("assets:tender  0 EUR =* 60.00 EUR", "assets:tender  0 EUR =* 60.01 EUR"), "utf-8")
    assert wrong.read_text("utf-8") != text
    with pytest.raises(AssertionError, match="balance assertion"):
        hledger(wrong, "check")


@BOTH
async def test_beancount_has_our_balances(past: Shop, tmp_path: Path, detail: tuple[str, ...]) -> None:
    """Every account is open when it moves, every transaction balances, every balance that is told is met."""
    file = tmp_path / "books.beancount"
    assert (await run(past, "--format", "beancount", "--output", str(file), *detail)).exit_code == 0
    assert by_kind(beans(file)) == await ledger(past)
    text = file.read_text("utf-8")
    assert f"{await past.today()} balance Assets:Tender  60.00 ~ 0 EUR" in text
    wrong = tmp_path / "wrong.beancount"
    wrong.write_text(
        text.replace("balance Assets:Tender  60.00 ~ 0 EUR", "balance Assets:Tender  60.01 ~ 0 EUR"), "utf-8"
    )
    _, errors, _ = loader.load_file(str(wrong))
    assert len(errors) == 1


async def test_days_that_follow_each_other_make_the_whole(past: Shop, tmp_path: Path) -> None:
    """Exports of some days and of those behind them, in one file, are what one export of all would be."""
    today = await past.today()
    one, two, both, whole = (tmp_path / f"{name}.beancount" for name in ("one", "two", "both", "whole"))
    early, late = str(today - dt.timedelta(days=3)), str(today - dt.timedelta(days=2))
    words = ("--format", "beancount", "--detail", "--output")
    await run(past, *words, str(one), "--to", early)
    await run(past, *words, str(two), "--from", late)
    await run(past, *words, str(whole))
    both.write_text(one.read_text("utf-8") + two.read_text("utf-8"), "utf-8")
    assert beans(one)
    assert sorted(beans(both)) == sorted(beans(whole))


async def test_each_authorization_is_a_transaction_with_its_number(past: Shop, tmp_path: Path) -> None:
    """And its card; a day and branch are one each without the detail."""
    file = tmp_path / "books.journal"
    done = await run(past, "--format", "hledger", "--detail", "--output", str(file), "--json")
    [counts] = await past.query(
        "select count(distinct (module, date, sequence)) as entries, 2 * count(*) as lines from postings"
    )
    assert f'"transactions": {counts["entries"]}, "postings": {counts["lines"]}' in done.stdout
    [sale] = await past.query("select * from authorizations where command = 19 and approved = 700")
    text = file.read_text("utf-8")
    assert (
        f"\n{sale['booked_on']} ({sale['number']:012d}) sale, branch 1, module 1001, {sale['date']} {sale['sequence']}"
        f"  ; card:{sale['card']}\n    liabilities:cards:gift  7.00 EUR\n    income:redeemed:branch-1  -7.00 EUR\n"
    ) in text
    printed = await run(past, "--format", "hledger", "--detail")
    assert printed.stdout == text


async def test_who_may_still_book_is_waited_for(past: Shop, tmp_path: Path) -> None:
    """A transaction that began before the day was marked is in the export, or there is no export; none comes later."""
    today = await past.today()
    yesterday = today - dt.timedelta(days=1)
    file = tmp_path / "books.journal"
    words = ("--format", "hledger", "--detail", "--output", str(file))

    async def late(connection: Any) -> None:
        rows = names(today, 900_001, command=18, card=4, requested=1, approved=1) | postings((1, 4, TENDER, VALUE, 1))
        await record(connection, booked_on=yesterday, **rows)

    began, marked = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    async def hold_open(connection: Any) -> None:
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetchval("select pg_current_xact_id()")  # as `gather` does first of all
        trio.from_thread.run_sync(began.set, trio_token=token)
        trio.from_thread.run(marked.wait, trio_token=token)
        await late(connection)
        await transaction.commit()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(as_owner, past.owner_dsn, hold_open)
        await began.wait()
        refused = await run(past, *words, "--wait-s", "0.5")
        assert refused.exit_code == 1
        assert f"a transaction that may book on {yesterday} has been running for 0.5 s" in refused.stderr
        assert not file.exists()
        marked.set()
    assert (await run(past, *words)).exit_code == 0
    assert f"({await number_of(past, 900_001):012d}) reload, branch 1, module {MODULE}, " in file.read_text("utf-8")
    with pytest.raises(asyncpg.PostgresError, match="a posting on a day that is closed"):
        await as_owner(past.owner_dsn, late)


async def number_of(shop: Shop, sequence: int) -> int:
    """The authorization number of a name of today."""
    [row] = await shop.query("select number from authorizations where module = $1 and sequence = $2", MODULE, sequence)
    number: int = row["number"]
    return number


async def test_a_day_that_has_not_ended_is_not_exported(past: Shop) -> None:
    """Today's end is not known, and days do not run backwards."""
    today = await past.today()
    for words, said in (
        (("--to", str(today)), f"{today} has not ended"),
        (("--from", str(today)), f"{today} has not ended, and only days that have are exported"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), "give --from a day that is not behind --to"),
    ):
        refused = await run(past, "--format", "hledger", *words)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert said in refused.stderr
    assert await past.query("select * from closed_days") == []


CHART = Chart({1: "gift", 2: "account-9"}, {1: "gift", 2: "credit"})
DAY = dt.date(2026, 1, 31)


def test_accounts_are_named_from_their_kinds() -> None:
    """Of a card by programme, of a branch by its number."""
    named = [CHART.account(*given) for given in ((1, 1, 7), (1, 2, 7), (2, 2, None), (100, None, 7), (101, None, 7))]
    assert named == [
        "liabilities:cards:gift", "assets:credit:account-9", "assets:owed:account-9", "assets:tender:branch-7",
        "income:redeemed:branch-7",
    ]  # fmt: skip
    assert [CHART.account(kind, None, 7) for kind in (102, 103)] == ["expenses:loss", "income:lapsed"]


def test_a_currency_without_decimals_is_declared_as_one() -> None:
    """And one with three has three."""
    yen = Journal(Dialect.HLEDGER, "Kissaten", Units(392, "JPY", 0)).head(DAY, DAY, {})
    assert "\ncommodity 1000. JPY\ncommodity 1000. VISIT\n" in yen
    dinar = Journal(Dialect.HLEDGER, "Cafe", Units(414, "KWD", 3))
    assert "\ncommodity 1000.000 KWD\n" in dinar.head(DAY, DAY, {})
    entry = Entry(DAY, "sale", "branch 1", None, None, (Line("a", 414, 1234), Line("b", 414, -1234)))
    assert dinar.entry(entry) == "\n2026-01-31 sale, branch 1\n    a  1.234 KWD\n    b  -1.234 KWD\n"


def test_an_account_is_open_from_the_first_day_that_it_moved() -> None:
    """Also the one above it, of which a balance is told; an export of later days does not open it again."""
    rows = [
        {"kind": 100, "programme": None, "branch": 1, "first": DAY},
        {"kind": 100, "programme": None, "branch": 2, "first": DAY + dt.timedelta(days=1)},
    ]
    accounts = opened(rows, CHART)
    assert accounts == {
        "assets:tender:branch-1": DAY, "assets:tender": DAY, "assets:tender:branch-2": DAY + dt.timedelta(days=1),
    }  # fmt: skip
    beancount = Journal(Dialect.BEANCOUNT, "Cafe", Units(EUR, "EUR", 2))
    later = beancount.head(DAY + dt.timedelta(days=1), DAY + dt.timedelta(days=2), accounts)
    assert later.splitlines()[1:] == ["2026-02-01 open Assets:Tender:Branch-2"]
