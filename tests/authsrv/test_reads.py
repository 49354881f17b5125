"""Echo and page: told from what is recorded, and never recorded themselves."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from back_office import active_card, snapshot
from shop import DESK, Waiting, name_of

from authsrv.shell.reads import READERS, Reads
from ledger.faults import Unavailable
from ledger.names import Name
from protocol.messages import OriginalName, Response
from protocol.numbers import Command, Reason, Result

if TYPE_CHECKING:
    from shop import Shop, Till
    from trio.testing import MockClock


class DeadDoor:
    """A door to a database that is not there."""

    async def run(self, _work: Any) -> Any:
        """What the real one raises."""
        await trio.lowlevel.checkpoint()
        raise Unavailable


async def read(
    shop: Shop, till: Till, command: Command, *, door: Any = None, deadline_s: float = 15, **fields: Any
) -> Response:
    """The answer to one request in the line of reads."""
    reads, answers = Reads(door or shop.door, shop.rules, waiting_max=4), list[bytes]()
    ask = till.opened(await till.request(command, **fields))
    assert reads.offer(Waiting(ask, trio.current_time() + deadline_s, answers.append))
    reads.close()
    await reads.run()
    [answer] = answers
    said = Response.decode(answer)
    assert (said.command, said.sequence, said.module) == (command, ask.name.sequence, till.module)
    return said


async def test_echo(shop: Shop) -> None:
    """Before its first request a module has no last name; then it is the one with the highest sequence, of any day."""
    till = shop.till(1002)
    told = await read(shop, till, Command.ECHO)
    assert (told.result, told.last_date, told.last_sequence) == (Result.APPROVED, None, 0)
    today = await shop.today()
    for sequence, days in ((50, 0), (70, -1), (49, 0)):
        await till.sale("6371120000000009990", 100, sequence=sequence, date=today + dt.timedelta(days=days))
    before = await snapshot(shop)
    told = await read(shop, till, Command.ECHO)
    assert (told.last_date, told.last_sequence) == (today - dt.timedelta(days=1), 70)
    assert await snapshot(shop) == before


async def test_page(shop: Shop) -> None:
    """A page of a recorded answer comes as it was recorded, by name and by number; one that does not exist is 25."""
    till, card = shop.till(), await active_card(shop, 5000)
    sold = await till.sale(card, 1250)
    name = name_of(sold)
    second = Response(result=0, pages=2, page=2, text=b"the second page\n").encode()
    sealed = shop.rules.ring.seal(Name(till.module, name.date, name.sequence), 2, second, bytes(12))
    await shop.query("insert into pages values ($1, $2, $3, 2, $4)", till.module, name.date, name.sequence, sealed)
    before = await snapshot(shop)
    for original in (name, sold.authorization):
        first = await read(shop, till, Command.PAGE, original=original, page=1)
        assert (first.result, first.text, first.authorization) == (Result.APPROVED, sold.text, sold.authorization)
        assert (await read(shop, till, Command.PAGE, original=original, page=2)).text == b"the second page\n"
        assert (await read(shop, till, Command.PAGE, original=original, page=3)).reason == Reason.ORIGINAL_UNKNOWN
    assert await snapshot(shop) == before


async def test_whose_pages(shop: Shop) -> None:
    """Another till's answer is not told, to a desk it is; a name is always the asking module's own."""
    sold = await shop.till().sale(await active_card(shop, 5000), 1250)
    foreign = await read(shop, shop.till(2001), Command.PAGE, original=sold.authorization, page=1)
    assert (foreign.reason, foreign.text) == (Reason.FOREIGN_ORIGINAL, b"")
    by_name = await read(shop, shop.till(2001), Command.PAGE, original=name_of(sold), page=1)
    assert by_name.reason == Reason.ORIGINAL_UNKNOWN
    assert (await read(shop, shop.till(DESK), Command.PAGE, original=sold.authorization, page=1)).text == sold.text


@pytest.mark.parametrize("original", ["323000000014", "323000000015", OriginalName(dt.date(2026, 11, 1), 900)])
async def test_pages_of_nothing(shop: Shop, original: OriginalName | str) -> None:
    """An unknown number, a mistyped one and an unknown name are 25."""
    told = await read(shop, shop.till(), Command.PAGE, original=original, page=1)
    assert (told.result, told.reason) == (Result.ORIGINAL, Reason.ORIGINAL_UNKNOWN)


async def test_what_cannot_be_read(shop: Shop) -> None:
    """Without a database 91; past its deadline 91, too late; of a bad form 30; an answer that does not open 96."""
    till = shop.till()
    assert (await read(shop, till, Command.ECHO, door=DeadDoor())).reason == Reason.NO_DATABASE
    assert (await read(shop, till, Command.ECHO, deadline_s=0)).reason == Reason.TOO_LATE
    assert (await read(shop, till, Command.PAGE, original="323000000014")).reason == Reason.FIELD_MISSING
    sold = await till.sale(await active_card(shop, 5000), 1250)
    name = name_of(sold)
    await shop.query("insert into pages values ($1, $2, $3, 2, 'x')", till.module, name.date, name.sequence)
    assert (await read(shop, till, Command.PAGE, original=name, page=2)).result == Result.MALFUNCTION


async def test_who_waits_behind_readers_that_stand_still_is_told(shop: Shop, mock_clock: MockClock) -> None:
    """While all readers wait for the database, the next request gets 91 at its deadline."""
    free, began = trio.Event(), list[int]()

    class Still:
        async def run(self, work: Any) -> Any:
            began.append(1)
            await free.wait()
            return await shop.door.run(work)

    till, answers = shop.till(), list[bytes]()
    reads = Reads(Still(), shop.rules, waiting_max=4)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reads.run)
        for number in range(READERS + 1):
            ask = till.opened(await till.request(Command.ECHO))
            assert reads.offer(Waiting(ask, trio.current_time() + (15 if number == READERS else 60), answers.append))
            await trio.testing.wait_all_tasks_blocked()
        assert len(began) == READERS
        mock_clock.jump(16)
        await trio.testing.wait_all_tasks_blocked()
        assert [Response.decode(answer).reason for answer in answers] == [Reason.TOO_LATE]
        free.set()
        reads.close()
    assert [Response.decode(answer).result for answer in answers[1:]] == [Result.APPROVED] * READERS


async def test_a_full_line_takes_no_more(shop: Shop) -> None:
    """With as many waiting as it holds the next is not taken; closed, none is."""
    till, reads, answers = shop.till(), Reads(shop.door, shop.rules, waiting_max=2), list[bytes]()
    ask = till.opened(await till.request(Command.ECHO))
    pending = Waiting(ask, trio.current_time() + 15, answers.append)
    assert [reads.offer(pending) for _ in range(3)] == [True, True, False]
    reads.close()
    assert not reads.offer(pending)
    await reads.run()
    assert len(answers) == 2
