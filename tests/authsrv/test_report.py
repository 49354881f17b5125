"""Reports: what was booked, by whom and when; what is outstanding and overdue at the end of any day."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from typing import TYPE_CHECKING, Any

import trio
from back_office import active_card, credit_card, trade
from books import names, postings, record, undos
from shop import TILLS, Shop, as_owner
from typer.testing import CliRunner

from authsrv.shell.cli import app

if TYPE_CHECKING:
    from pathlib import Path

VALUE, OWED, TENDER, REDEEMED = 1, 2, 100, 101
LOAD, SALE, REFUND, REVERSE, PAYMENT, CASH_OUT = 18, 19, 23, 24, 25, 27
SEQUENCES = itertools.count(500_000)


async def run(shop: Shop, *words: str) -> Any:
    """The command's result."""
    given = ["report", *words, "--database", shop.owner_dsn]
    return await trio.to_thread.run_sync(lambda: CliRunner().invoke(app, given))


async def report(shop: Shop, *words: str) -> list[dict[str, Any]]:
    """The rows of a report, by key."""
    done = await run(shop, *words, "--json")
    assert done.exit_code == 0, done.output
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


async def book(
    shop: Shop, day: dt.date, card: int, command: int, debit: int, credit: int, amount: int, **more: Any
) -> int:
    """Record a movement at noon of a day in the past, under a new sequence, which is returned."""
    sequence = next(SEQUENCES)
    due_on, undone, reversal = more.get("due_on"), more.get("undone"), more.get("reversal", False)
    original = (
        dict(zip(("original_module", "original_date", "original_sequence"), (TILLS[0], *undone), strict=True))
        if undone
        else {}
    )

    async def work(connection: Any) -> None:
        for each in (day, more.get("named", day)):
            await connection.execute("select make_month($1)", each)
        programme = await connection.fetchval("select programme from cards where id = $1", card)
        rows = names(
            more.get("named", day),
            sequence,
            command=command,
            card=card,
            programme=programme,
            requested=amount,
            approved=amount,
            **original,
        )
        rows |= postings((1, card, debit, credit, amount))
        if undone:
            rows |= undos((1, *undone, reversal, amount))
        if due_on:
            rows["charges"] = [(card, TILLS[0], day, sequence, due_on, amount)]
        noon = dt.datetime.combine(day, dt.time(10), dt.UTC)
        await record(connection, decided_at=noon, booked_on=day, **rows)

    await as_owner(shop.owner_dsn, work)
    return sequence


async def owing(shop: Shop) -> tuple[int, dt.date]:
    """A credit card with half a year behind it, and today.

    It bought for 10, 20, 5, 3 and 7, due 95, 70, 40 and 10 days ago and in 9 days; 30 days ago 12 were paid, 2 days ago
    1 of the 5 was given back.
    """
    card, today = shop.card_ids[await credit_card(shop)], await shop.today()

    def ago(days: int) -> dt.date:
        return today - dt.timedelta(days=days)

    bought = {}
    for days, due, amount in ((100, 95, 1000), (80, 70, 2000), (50, 40, 500), (20, 10, 300), (5, -9, 700)):
        bought[days] = await book(shop, ago(days), card, SALE, VALUE, REDEEMED, amount, due_on=ago(due))
        if days == 50:
            await book(shop, ago(30), card, PAYMENT, TENDER, VALUE, 1200)
    await book(shop, ago(2), card, REFUND, REDEEMED, VALUE, 100, undone=(ago(50), bought[50]))
    return card, today


async def test_what_is_owed_is_aged_as_of_any_day(shop: Shop) -> None:
    """The payment settled the oldest charge and a part of the next; before it was booked, it had not."""
    card, today = await owing(shop)
    ages = ("debt", "current", "to_30", "to_60", "to_90", "beyond")

    async def on(days: int) -> tuple[int, ...]:
        [row] = await report(shop, "ageing", "--by-card", "--on", str(today - dt.timedelta(days=days)))
        assert row["card"] == card
        return tuple(row[age] for age in ages)

    # Of the second charge 18 are open; 5 of the third, of which 1 came back.
    assert await on(0) == (3200, 700, 300, 400, 1800, 0)
    assert await on(3) == (3300, 700, 300, 500, 1800, 0)
    assert await on(4) == (3300, 700, 300, 500, 1800, 0)
    assert await on(30) == (2300, 0, 500, 1800, 0, 0)
    assert await on(31) == (3500, 0, 500, 2000, 1000, 0)
    assert await on(60) == (3000, 0, 2000, 1000, 0, 0)
    assert await on(95) == (1000, 1000, 0, 0, 0, 0)
    assert await on(94) == (1000, 0, 1000, 0, 0, 0)
    assert await report(shop, "ageing", "--on", str(today - dt.timedelta(days=101))) == []
    [total] = await report(shop, "ageing")
    assert (total["programme"], total["cards"], total["debt"]) == ("credit", 1, 3200)


async def test_the_bounds_of_the_ages(shop: Shop) -> None:
    """Due today is current; 1 to 30, 31 to 60, 61 to 90 and over 90 days are ages."""
    today, ages = await shop.today(), {}
    for days, age in ((0, 0), (1, 1), (30, 1), (31, 2), (60, 2), (61, 3), (90, 3), (91, 4)):
        card, due_on = shop.card_ids[await credit_card(shop)], today - dt.timedelta(days=days)
        await book(shop, due_on, card, SALE, VALUE, REDEEMED, 100, due_on=due_on)
        ages[card] = [100 * (age == n) for n in range(5)]
    rows = await report(shop, "ageing", "--by-card")
    assert {row["card"]: [row[key] for key in ("current", "to_30", "to_60", "to_90", "beyond")] for row in rows} == ages


async def test_a_debt_without_purchase_is_current(shop: Shop) -> None:
    """What was paid ahead was paid out, and then the payment undone."""
    card, today = shop.card_ids[await credit_card(shop)], await shop.today()
    day = today - dt.timedelta(days=9)
    paid = await book(shop, day, card, PAYMENT, TENDER, VALUE, 500)
    await book(shop, day, card, CASH_OUT, VALUE, TENDER, 500)
    await book(shop, day, card, REVERSE, VALUE, TENDER, 500, undone=(day, paid), reversal=True)
    [row] = await report(shop, "ageing")
    assert (row["debt"], row["current"]) == (500, 500)


async def test_a_statement_goes_from_opening_to_closing(shop: Shop) -> None:
    """Charges lower and payments and credits raise the balance; what is due when is that of the last day."""
    card, today = await owing(shop)
    first, last = today - dt.timedelta(days=50), today - dt.timedelta(days=2)
    done = await run(shop, "statement", "--card", str(card), "--from", str(first), "--to", str(last), "--json")
    told = json.loads(done.stdout)
    assert [(row["movement"], row["debit"], row["credit"], row["balance"]) for row in told["rows"]] == [
        ("opening", None, None, -3000),
        ("charge", 500, None, -3500),
        ("payment", None, 1200, -2300),
        ("charge", 300, None, -2600),
        ("charge", 700, None, -3300),
        ("credit", None, 100, -3200),
        ("closing", 1500, 1300, -3200),
    ]
    due = [note.partition(" of ")[0] for note in told["notes"] if note.startswith("due ")]
    days = [str(today - dt.timedelta(days=each)) for each in (70, 40, 10, -9)]
    assert due == [
        f"due {day}: {amount} EUR" for day, amount in zip(days, ("18.00", "4.00", "3.00", "7.00"), strict=True)
    ]


async def test_the_opening_is_what_stood_the_day_before(shop: Shop) -> None:
    """What was booked on the first day itself is a movement, what was booked before it is not."""
    card, today = await owing(shop)
    told = {}
    for days in (81, 80, 79):
        first = str(today - dt.timedelta(days=days))
        rows = await report(shop, "statement", "--card", str(card), "--from", first, "--to", first)
        told[days] = [row["balance"] for row in rows]
    assert told == {81: [-1000, -1000], 80: [-1000, -3000, -3000], 79: [-3000, -3000]}


async def test_a_statement_is_asked_for_by_number(shop: Shop, tmp_path: Path) -> None:
    """It is told by its last four; the number is read where nobody else sees it, and stands nowhere."""
    number = await active_card(shop, 5000)
    key = tmp_path / "kek"
    key.write_text(bytes(range(32)).hex())
    key.chmod(0o400)
    words = ["report", "statement", "-", "--key-file", str(key), "--database", shop.owner_dsn]
    done = await trio.to_thread.run_sync(lambda: CliRunner().invoke(app, words, input=f"{number}\n"))
    assert done.exit_code == 0, done.output
    assert f"card *{number[-4:]}, gift, " in done.stdout
    assert number not in done.stdout
    assert done.stdout.splitlines()[-1].split() == [str(await shop.today()), "closing", "0.00", "50.00", "50.00"]


async def test_what_is_outstanding_as_of_any_day(shop: Shop) -> None:
    """What was booked later does not count, nor is it forgotten today."""
    card, today = shop.card_ids[await active_card(shop, 5000)], await shop.today()
    await book(shop, today - dt.timedelta(days=10), card, LOAD, TENDER, VALUE, 3000)
    await book(shop, today - dt.timedelta(days=5), card, SALE, VALUE, REDEEMED, 700)

    async def on(days: int) -> list[tuple[Any, ...]]:
        rows = await report(shop, "outstanding", "--on", str(today - dt.timedelta(days=days)))
        return [(row["programme"], row["unit"], row["cards"], row["liability"]) for row in rows]

    assert await on(11) == []
    assert await on(10) == await on(6) == [("gift", "EUR", 1, 3000)]
    assert await on(5) == await on(1) == [("gift", "EUR", 1, 2300)]
    assert await on(0) == [("gift", "EUR", 1, 7300)]


async def test_each_kind_of_card_owes_or_is_owed_in_its_column(shop: Shop) -> None:
    """As the trade of a day leaves it."""
    await trade(shop)
    rows = await report(shop, "outstanding")
    assert [tuple(row.values()) for row in rows] == [
        ("gift", "gift", "EUR", 2, 5000 - 700 - 400 - 250, 0, 500),
        ("visits", "visits", "VISIT", 1, 9, 0, 0),
        ("credit", "credit", "EUR", 1, 0, 1200, 0),
    ]


async def test_sales_are_grouped_as_asked(shop: Shop) -> None:
    """A reversal is counted beside what it undid; whatever the grouping, it adds up to the same."""
    await trade(shop)
    today = await shop.today()
    rows = await report(shop, "sales", "--by", "branch,programme")
    told = {
        (row["branch"], row["programme"], row["movement"]): (row["count"], row["amount"], row["reversals"], row["net"])
        for row in rows
    }
    assert told == {
        # At branch 1: cards of 50, 10 and 9, and 5 that were undone; sold 7, 0.50 (undone), 2.50 by a hold, and 15.
        (1, "gift", "load"): (4, 7400, 1, 6900),
        (1, "gift", "sale"): (4, 2500, 1, 2450),
        (1, "gift", "cash-out"): (1, 900, 0, 900),
        (1, "credit", "sale"): (2, 1500, 0, 1500),
        (1, "credit", "refund"): (1, 300, 0, 300),
        (1, "credit", "payment"): (1, 400, 1, 0),
        (1, "visits", "load"): (1, 10, 0, 10),
        (1, "visits", "visit"): (1, 1, 0, 1),
        (2, "gift", "sale"): (1, 500, 0, 500),
        (2, "gift", "refund"): (2, 300, 1, 100),
    }
    sums = {
        by: sum(row["net"] for row in await report(shop, "sales", "--by", by) if row["unit"] == "EUR")
        for by in ("branch", "day,branch,module,cashier,programme", "cashier", "")
    }
    assert set(sums.values()) == {6900 + 2450 + 900 + 1500 + 300 + 500 + 100}
    [first] = [row for row in await report(shop, "sales", "--by", "day,module") if row["movement"] == "cash-out"]
    assert (first["day"], first["module"], first["module_name"]) == (str(today), TILLS[0], f"till {TILLS[0]}")


async def test_only_the_days_asked_for_count(shop: Shop) -> None:
    """Both ends belong to them."""
    card, today = shop.card_ids[await active_card(shop, 5000)], await shop.today()
    days = [today - dt.timedelta(days=back) for back in (12, 11, 10, 9)]
    for place, day in enumerate(days):
        await book(shop, day, card, LOAD, TENDER, VALUE, 10**place)
    [row] = await report(shop, "sales", "--from", str(days[1]), "--to", str(days[2]))
    assert (row["count"], row["amount"]) == (2, 110)


async def test_a_movement_counts_on_its_booked_day_whatever_its_name_says(shop: Shop) -> None:
    """A till's calendar may be 36 days behind and 2 ahead."""
    card, today = shop.card_ids[await active_card(shop, 5000)], await shop.today()
    day = today - dt.timedelta(days=60)
    for place, days in enumerate((-36, 0, 2)):
        await book(shop, day, card, LOAD, TENDER, VALUE, 10**place, named=day + dt.timedelta(days=days))
    [row] = await report(shop, "sales", "--from", str(day), "--to", str(day))
    assert (row["count"], row["amount"]) == (3, 111)
    [branch] = await report(shop, "settlement", "--from", str(day), "--to", str(day))
    assert branch["taken"] == 111


async def test_branches_settle_what_they_gave_on_cards_of_others(shop: Shop) -> None:
    """Branch 1 sold the cards and has the money; branch 2 gave goods for 4 on one of them."""
    await trade(shop)
    rows = await report(shop, "settlement")
    told = {(row["branch"], row["unit"]): row for row in rows}
    keys = ("taken", "given", "net", "given_on_others", "given_elsewhere", "due")
    # Taken 50, 10 and 9, and 9 paid out. Given 7, 2.50, 15 and, on credit, 12.
    assert [told[1, "EUR"][key] for key in keys] == [6000, 3650, 2350, 0, 400, -400]
    assert [told[2, "EUR"][key] for key in keys] == [0, 400, -400, 400, 0, 400]
    assert [told[1, "VISIT"][key] for key in keys] == [10, 1, 9, 0, 0, 0]


async def test_each_form_goes_into_a_file_or_onto_the_screen(shop: Shop, tmp_path: Path) -> None:
    """A file is whole, and takes the place of one that was there."""
    await trade(shop)
    for form, begins in (("csv", b"branch,branch_name,"), ("json", b'{"title"'), ("xlsx", b"PK"), ("pdf", b"%PDF")):
        file = tmp_path / f"report.{form}"
        file.write_bytes(b"old")
        written = await run(shop, "sales", "--format", form, "--output", str(file))
        assert written.exit_code == 0
        assert str(file) in written.stdout
        assert file.read_bytes().startswith(begins)
        piped = await run(shop, "sales", "--format", form)
        assert piped.stdout_bytes == file.read_bytes()
        assert not file.with_name(f"{file.name}.new").exists()


async def test_what_cannot_be_reported_is_refused(shop: Shop, tmp_path: Path) -> None:
    """In one line that says what to give."""
    (tmp_path / "no.ttf").write_bytes(b"no")
    for code, words, said in (
        (2, ("sales", "--by", "colour"), "--by is colour"),
        (2, ("sales", "--from", "yesterday"), "--from is yesterday, which is no day"),
        (1, ("sales", "--from", "2026-02-01", "--to", "2026-01-01"), "give --from a day that is not behind --to"),
        (2, ("statement",), "say which card"),
        (1, ("statement", "--card", "999999"), "there is no such card"),
        (2, ("sales", "--format", "pdf", "--font", str(tmp_path / "no.ttf")), "no.ttf is no TrueType font"),
    ):
        done = await run(shop, *words)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1), words
        assert said in done.stderr
