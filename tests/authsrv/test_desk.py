"""Acts of operators over a real ledger: each happens once and stands in the trail; a dry run leaves nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import trio
from back_office import active_card, new_card, new_pass, recorded, snapshot
from shop import CODE, DESK, KEK, TILLS, as_owner, name_of

from authsrv.shell.desk import Act, Operator, carry_out
from authsrv.shell.enrolment import EnrolmentError, add_desk
from authsrv.shell.key_file import make_key_file
from authsrv.shell.records import show_authorization
from authsrv.shell.settings import Settings
from ledger.faults import InDoubt
from ledger.names import authorization_number
from ledger.shell import store
from protocol.messages import Freeze
from protocol.numbers import Command, GivenReason, Reason, Result

if TYPE_CHECKING:
    from pathlib import Path

    from shop import Shop

    from authsrv.shell.report import Report

OFFICE = 9900
BY = Operator("anna", "the holder called")


@pytest.fixture
async def office(shop: Shop, tmp_path: Path) -> Settings:
    """The shop with a desk of operators, and how its operators reach the database."""
    await as_owner(
        shop.owner_dsn, lambda connection: add_desk(connection, OFFICE, 1, "Office", columns=42, language="en")
    )
    make_key_file(tmp_path / "kek", KEK)
    return Settings(database=shop.owner_dsn, schema=shop.schema, key_file=tmp_path / "kek")


def refund_of(number: str, amount: int, ticket: str = "") -> Act:
    fields = {"original": number, "amount": amount}
    about = {"original": number, "amount": str(amount)}
    return Act(words="auth refund", command=Command.REFUND, fields=fields, about=about, once=True, ticket=ticket)


def reversal_of(number: str) -> Act:
    fields = {"original": number, "reason": GivenReason.MISTAKE}
    return Act(words="auth reverse", command=Command.REVERSE, fields=fields, about={"original": number}, once=True)


def on_card(words: str, command: Command, card: str, **fields: Any) -> Act:
    once = command is Command.REPLACE
    return Act(words=words, command=command, fields={"card": card, **fields}, about={"card": card[-4:]}, once=once)


def outcome(report: Report) -> tuple[int, int]:
    return report.values["result"], report.values["reason"]


async def trail(shop: Shop) -> list[tuple[Any, ...]]:
    """Who, why, act, and the result of the request, in order."""
    rows = await shop.query(
        """select who, why, act, a.result from audit_trail t left join authorizations a using (module, date, sequence)
            order by t.id"""
    )
    return [tuple(row) for row in rows]


async def test_an_act_is_a_request_with_its_entry_in_the_trail(shop: Shop, office: Settings) -> None:
    """A till's sale is undone by its number; the receipt says of what, the trail by whom and why, under one name."""
    card = await active_card(shop, 5000)
    sold = await shop.till().sale(card, 1250)
    report = await carry_out(office, BY, reversal_of(sold.authorization))
    assert outcome(report) == (Result.APPROVED, Reason.NONE)
    assert sold.authorization in report.values["receipt"]
    assert await shop.balance(card) == 5000
    assert await trail(shop) == [("anna", "the holder called", "auth reverse", 0)]
    [row] = await shop.query("select module from authorizations where number = $1", int(report.values["authorization"]))
    assert row["module"] == OFFICE
    await shop.check_books()


async def test_money_asked_of_a_pass_is_shown_as_money(shop: Shop, office: Settings) -> None:
    """As on the receipt: 3.00 was rung up, and not 300 visits."""
    refused = await shop.till().ask(Command.SALE, card=await new_pass(shop), amount=300)
    shown = await show_authorization(office, refused.authorization)
    assert any("requested 3.00 EUR, approved 0 VISIT" in line for line in shown.lines), shown.lines


async def test_a_double_call_happens_once(shop: Shop, office: Settings) -> None:
    """The second refund is answered with the first one's receipt; with a ticket of its own it is another refund."""
    card = await active_card(shop, 5000)
    sold = await shop.till().sale(card, 1250)
    first = await carry_out(office, BY, refund_of(sold.authorization, 500))
    again = await carry_out(office, Operator("berta", "again"), refund_of(sold.authorization, 500))
    assert again.values["done_before"]["who"] == "anna"
    assert {**again.values, "done_before": None} == first.values
    same = refund_of(sold.authorization, 500)
    otherwise = replace(same, about={"original": sold.authorization, "amount": "5.0"})
    assert (await carry_out(office, BY, otherwise)).values["done_before"]["who"] == "anna"
    assert await shop.balance(card) == 4250
    further = await carry_out(office, BY, refund_of(sold.authorization, 500, ticket="R-2"))
    assert (outcome(further), further.values["done_before"]) == ((0, 0), None)
    assert (await shop.balance(card), len(await trail(shop))) == (4750, 2)


async def test_two_at_the_same_moment_happen_once(shop: Shop, office: Settings) -> None:
    """Two operators press at once: one refund, and both hold its receipt."""
    card = await active_card(shop, 5000)
    sold = await shop.till().sale(card, 1250)
    receipts: list[str] = []

    async def press(who: str) -> None:
        report = await carry_out(office, Operator(who, "both"), refund_of(sold.authorization, 500))
        receipts.append(report.values["receipt"])

    async with trio.open_nursery() as nursery:
        for who in ("anna", "berta"):
            nursery.start_soon(press, who)
    assert receipts[0] == receipts[1]
    assert (await shop.balance(card), len(await trail(shop))) == (4250, 1)


async def test_two_desks_at_the_same_moment_happen_once(shop: Shop, office: Settings) -> None:
    """The same refund at two desks at once: one of them waits, and is answered with the other's receipt."""
    await as_owner(shop.owner_dsn, lambda connection: add_desk(connection, 9901, 1, "Other", columns=42, language="en"))
    card = await active_card(shop, 5000)
    sold = await shop.till().sale(card, 1250)
    done_before: list[bool] = []

    async def press(desk: int) -> None:
        report = await carry_out(office, Operator("anna", "both", desk), refund_of(sold.authorization, 500))
        done_before.append(report.values["done_before"] is not None)

    async with trio.open_nursery() as nursery:
        for desk in (OFFICE, 9901):
            nursery.start_soon(press, desk)
    assert sorted(done_before) == [False, True]
    assert (await shop.balance(card), len(await trail(shop))) == (4250, 1)


async def test_what_was_undone_since_is_not_done(shop: Shop, office: Settings) -> None:
    """A refund that was reversed may be made again, and gives back again."""
    card = await active_card(shop, 5000)
    sold = await shop.till().sale(card, 1250)
    first = await carry_out(office, BY, refund_of(sold.authorization, 500))
    await carry_out(office, BY, reversal_of(first.values["authorization"]))
    assert await shop.balance(card) == 3750
    again = await carry_out(office, BY, refund_of(sold.authorization, 500))
    assert (again.values["done_before"], await shop.balance(card)) == (None, 4250)


async def test_what_was_declined_may_be_asked_again(shop: Shop, office: Settings) -> None:
    """A decline stands in the trail and binds nobody: once the hindrance is gone the same act is carried out."""
    card = await active_card(shop, 5000)
    sold = await shop.till().sale(card, 1000)
    back = await shop.till().ask(Command.REFUND, original=name_of(sold), amount=400)
    refused = await carry_out(office, BY, reversal_of(sold.authorization))
    assert outcome(refused) == (Result.INVALID, Reason.REFUNDED)
    assert refused.complaints
    await shop.till().reverse(name_of(back), 400)
    assert outcome(await carry_out(office, BY, reversal_of(sold.authorization))) == (0, 0)
    assert [entry[-1] for entry in await trail(shop)] == [Result.INVALID, Result.APPROVED]
    assert await shop.balance(card) == 5000


async def test_a_dry_run_leaves_nothing(shop: Shop, office: Settings) -> None:
    """It tells what would happen, the balance after it too, and no row of the schema is another afterwards."""
    card = await active_card(shop, 5000)
    sold = await shop.till().sale(card, 1250)
    before = await snapshot(shop)
    report = await carry_out(office, BY, refund_of(sold.authorization, 1250), dry_run=True)
    assert (outcome(report), report.values["dry_run"]) == ((0, 0), True)
    assert "50.00 EUR" in report.values["receipt"]
    assert await snapshot(shop) == before
    assert await trail(shop) == []


async def test_a_commit_in_doubt_is_settled_by_the_same_call(
    shop: Shop, office: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The COMMIT happened and nobody was told: the operator gives the command again, and learns what was done."""
    card = await active_card(shop, 5000)
    sold = await shop.till().sale(card, 1250)
    commit = store.commit

    async def lost(connection: Any, *sent: Any) -> None:
        await commit(connection, *sent)
        raise InDoubt("lost")

    monkeypatch.setattr(store, "commit", lost)
    with pytest.raises(InDoubt):
        await carry_out(office, BY, refund_of(sold.authorization, 500))
    monkeypatch.setattr(store, "commit", commit)
    again = await carry_out(office, BY, refund_of(sold.authorization, 500))
    assert (outcome(again), again.values["done_before"]["who"]) == ((0, 0), "anna")
    assert (await shop.balance(card), len(await trail(shop))) == (4250, 1)


async def test_a_card_through_its_acts(shop: Shop, office: Settings) -> None:
    """Blocked twice, unblocked, blocked again and freed: what sets a state may happen as often as it is asked for."""
    card = await active_card(shop, 5000)
    for command, sells in (
        (Command.BLOCK, False), (Command.BLOCK, False), (Command.UNBLOCK, True), (Command.BLOCK, False),
        (Command.UNBLOCK, True),
    ):  # fmt: skip
        reason = GivenReason.LOST if command is Command.BLOCK else GivenReason.FOUND
        report = await carry_out(office, BY, on_card(f"card {command.name}", command, card, reason=reason))
        assert outcome(report) == (0, 0), command
        assert ((await shop.till().sale(card, 100)).result == Result.APPROVED) == sells


async def test_a_number_is_replaced_once(shop: Shop, office: Settings) -> None:
    """Without the holder's code; the second call tells of the first and is not declined for the dead number."""
    card, new = await active_card(shop, 5000, code=CODE), await new_card(shop)
    act = on_card("card replace", Command.REPLACE, card, new_card=new)
    assert outcome(await carry_out(office, BY, act)) == (Result.APPROVED, Reason.CODE_STAYS)
    again = await carry_out(office, BY, act)
    assert (outcome(again), again.values["done_before"]["who"]) == ((0, Reason.CODE_STAYS), "anna")
    assert (await shop.till().sale(new, 100, code=CODE)).result == Result.APPROVED


async def test_tries_and_days(shop: Shop, office: Settings) -> None:
    """A locked card is freed, and a pass is frozen."""
    card, holder, today = await active_card(shop, 5000, code=CODE), await new_pass(shop), await shop.today()
    for _ in range(3):
        await shop.till().sale(card, 1, code="9999")
    await carry_out(office, BY, on_card("card reset-tries", Command.RESET_TRIES, card))
    assert (await shop.till().sale(card, 100, code=CODE)).result == Result.APPROVED
    await carry_out(office, BY, on_card("card freeze", Command.FREEZE, holder, freeze=Freeze(today, today)))
    assert (await shop.till().ask(Command.VISIT, card=holder)).reason == Reason.FROZEN


async def test_the_trail_holds_no_number_and_cannot_be_changed(shop: Shop, office: Settings) -> None:
    """Neither the card's number nor any six digits of it stand in an entry; no row is edited or deleted, by the owner
    neither, and the switch's role cannot read it."""
    card = await active_card(shop, 5000)
    await carry_out(office, BY, on_card("card block", Command.BLOCK, card, reason=GivenReason.LOST))
    [row] = await shop.query("select audit_trail::text as text from audit_trail")
    assert not any(card[at : at + 6] in row["text"] for at in range(len(card) - 5))
    for sql in ("update audit_trail set who = 'x'", "delete from audit_trail", "truncate audit_trail"):
        with pytest.raises(Exception, match="append-only"):
            await shop.query(sql)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asked_as_switch(shop, "select * from audit_trail")


async def asked_as_switch(shop: Shop, sql: str) -> None:
    def ask() -> None:
        async def asked() -> None:
            connection = await asyncpg.connect(shop.switch_dsn, server_settings={"search_path": shop.schema})
            try:
                await connection.fetch(sql)
            finally:
                await connection.close()

        asyncio.run(asked())

    await trio.to_thread.run_sync(ask)


@pytest.mark.parametrize(("desk", "complaint"), [(TILLS[0], "no desk of operators"), (DESK, "no desk of operators")])
async def test_other_modules_are_no_desk_of_operators(shop: Shop, office: Settings, desk: int, complaint: str) -> None:
    """Neither a till nor a desk that has a key of its own: their sequences are not ours to give out."""
    sold = await shop.till().sale(await active_card(shop, 5000), 1250)
    with pytest.raises(EnrolmentError, match=complaint):
        await carry_out(office, Operator("anna", "x", desk), reversal_of(sold.authorization))
    assert await trail(shop) == []


async def test_one_of_several_desks_is_named(shop: Shop, office: Settings) -> None:
    """With two desks nobody guesses; the named one acts, in a sequence of its own."""
    await as_owner(shop.owner_dsn, lambda connection: add_desk(connection, 9901, 1, "Other", columns=32, language="lv"))
    sold = await shop.till().sale(await active_card(shop, 5000), 1250)
    with pytest.raises(EnrolmentError, match="9900, 9901"):
        await carry_out(office, BY, reversal_of(sold.authorization))
    report = await carry_out(office, Operator("anna", "x", 9901), reversal_of(sold.authorization))
    assert max(map(len, report.values["receipt"].splitlines())) == 32


async def test_nobody_signs_on_as_such_a_desk(
    shop: Shop,
    office: Settings,  # noqa: ARG001 - with it the desk is there
) -> None:
    """Its record has no root key of any generation."""
    await shop.rules.load(shop.door)
    record = shop.rules.module(OFFICE)
    assert record is not None
    assert not record.keys


async def test_an_original_that_never_was(shop: Shop, office: Settings) -> None:
    """An unknown number is declined, with its entry, and makes no tombstone."""
    number = f"{authorization_number(await shop.today(), 99_999_999):012d}"
    before = await recorded(shop)
    assert outcome(await carry_out(office, BY, reversal_of(number))) == (25, Reason.ORIGINAL_UNKNOWN)
    assert (await recorded(shop), len(await trail(shop))) == (before + 1, 1)
