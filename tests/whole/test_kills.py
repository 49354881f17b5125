"""Processes that are killed or stopped at the worst moment, and tills that ask again until they know.

What must hold each time: every receipt that a till holds is in the ledger once, with that amount; what got no answer
is settled by a repeat or a reversal; nothing is there that nobody asked for; the books balance. The witness judges all
of it, in the order of the numbers that the ledger has given.
"""

from __future__ import annotations

import random
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from shop import KEK, TILLS
from whole.shopfront import open_shopfront
from whole.till import LineEndedError
from whole.witness import Witness, read

from ledger.shell import embedded
from ledger.shell.database import create_issuer_database
from ledger.shell.migrate import migrate
from protocol.numbers import Command, Result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from whole.shopfront import Shopfront
    from whole.switches import Switches
    from whole.till import Slip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

KILLS = 50
CARDS = 4
IN_FLIGHT = 12
NOT_FINAL = (Result.UNAVAILABLE, Result.MALFUNCTION)
VICTIM, STEADY = 0, 1
IDLE_MS = 700


def sold(front: Shopfront) -> Witness:
    """New cards with 100.00 each."""
    witness = Witness(front, {front.card(): None for _ in range(CARDS)})
    slips = [front.slip(TILLS[0], Command.ACTIVATE, card=card, amount=10_000) for card in witness.cards]
    witness.judge(slips, [front.line(TILLS[0], STEADY).answer_of(slip) for slip in slips], [range(CARDS)])
    return witness


def a_rush(witness: Witness, dice: random.Random) -> list[Slip]:
    """What several tills ask at once: mostly sales, more than the cards can pay."""
    front, cards = witness.front, list(witness.cards)
    return [
        front.slip(
            dice.choice(TILLS),
            dice.choice((Command.SALE, Command.SALE, Command.SALE, Command.RELOAD)),
            card=dice.choice(cards),
            amount=dice.choice((500, 700, 4000)),
        )
        for _ in range(IN_FLIGHT)
    ]


def answers_that_come(front: Shopfront, shots: Sequence[tuple[Slip, int]]) -> dict[Slip, bytes]:
    """Send all, and keep what is answered before the line ends."""
    posted, came = [], {}
    for slip, process in shots:
        line = front.line(slip.name.module, process)
        with suppress(LineEndedError):
            posted.append((slip, line, line.post(slip)))
    for slip, line, counter in posted:
        with suppress(LineEndedError):
            came[slip] = line.answer(counter)
    return came


def settled(front: Shopfront, slip: Slip, process: int) -> bytes:
    """Ask until a recorded answer comes."""
    while read(answer := front.line(slip.name.module, process).answer_of(slip)).result in NOT_FINAL:
        pass
    return answer


def judge(
    witness: Witness, slips: list[Slip], receipts: dict[Slip, bytes], dice: random.Random, processes: Sequence[int]
) -> None:
    """Settle what has no receipt by a repeat or a reversal, ask for every receipt once more, and have all of it
    judged."""
    front = witness.front
    held = {slip: answer for slip, answer in receipts.items() if read(answer).result not in NOT_FINAL}
    reversals = [
        front.slip(slip.name.module, Command.REVERSE, amount=slip.amount, original=slip.name)
        for slip in slips
        if slip not in held and dice.random() < 0.4
    ]
    final = {slip: settled(front, slip, dice.choice(processes)) for slip in (*reversals, *slips)}
    for slip, receipt in held.items():
        assert final[slip] == receipt, f"{slip} has two answers"
    # The time is taken when the card is locked; in one batch, which has one time, the numbers are in its order.
    decided = "select module, sequence from authorizations where not tombstone order by decided_at, number"
    places = {(row["module"], row["sequence"]): place for place, row in enumerate(front.books.query(decided))}
    asked = list(final)
    late = len(places)  # an original that met a tombstone has no record of its own
    order = sorted(
        range(len(asked)), key=lambda place: places.get((asked[place].name.module, asked[place].name.sequence), late)
    )
    witness.judge(asked, list(final.values()), [order])


def test_the_switch_is_killed_between_commit_and_answer(shopfront: Shopfront, switches: Switches) -> None:
    """Fifty processes die when their COMMIT is confirmed and nobody has been told; no value is lost or moved twice."""
    front, dice = shopfront, random.Random(1)  # noqa: S311 - dice, not keys
    dsn, schema = front.switch_dsn, front.schema
    front.processes = [switches.start(dsn, schema, KEK) for _ in range(2)]
    unanswered = 0
    for _ in range(KILLS):
        witness = sold(front)
        front.replace(VICTIM, switches.start(dsn, schema, KEK, die_after_commit={"at": dice.choice((1, 2))}))
        for till in TILLS:
            front.line(till, VICTIM)
        slips: list[Slip] = []
        receipts: dict[Slip, bytes] = {}
        while len(receipts) == len(slips):
            rush = a_rush(witness, dice)
            slips += rush
            receipts |= answers_that_come(front, [(slip, VICTIM) for slip in rush])
        front.processes[VICTIM].until("ended")
        recorded = front.books.value(
            "select count(*) from authorizations where sequence = any ($1)",
            [slip.name.sequence for slip in slips if slip not in receipts],
        )
        assert recorded > 0, "nothing was in the ledger that nobody had been told of"
        unanswered += recorded
        judge(witness, slips, receipts, dice, [STEADY])
    assert unanswered >= KILLS
    front.books.check()


@pytest.fixture
def own_server(database_folder: Path) -> Iterator[Shopfront]:
    """A shop on a PostgreSQL of its own, that may be killed."""
    attachment = embedded.attach(database_folder, create=True)
    database = create_issuer_database(attachment.admin_dsn, "issuer")
    migrate(database.owner_dsn, "issuer")
    front = open_shopfront(database.owner_dsn, database.switch_dsn, "issuer")
    try:
        yield front
    finally:
        front.hang_up()
        for process in front.processes:
            process.kill()
        front.books.abandon()
        attachment.detach()


def test_the_server_is_killed_between_commit_and_answer(
    own_server: Shopfront, database_folder: Path, switches: Switches
) -> None:
    """PostgreSQL dies fifty times when a COMMIT has been sent: whether it was carried out is found out, and nobody
    whose COMMIT was sent is told that nothing happened."""
    front, dice = own_server, random.Random(2)  # noqa: S311 - dice, not keys
    pid_file = str(database_folder / "postgres" / "postmaster.pid")
    fault: Any = {"pid_file": pid_file, "delays_s": [0, 0.001, 0.002, 0.004, 0.03]}
    front.processes = [
        switches.start(front.switch_dsn, front.schema, KEK, kill_server_in_commit=fault) for _ in range(2)
    ]
    carried_out = undone = 0
    for _ in range(KILLS):
        witness = sold(front)
        for process in front.processes:
            process.committing()
        front.processes[VICTIM].send(signal.SIGUSR1)
        slips = a_rush(witness, dice)
        posted = []
        for slip in slips:
            line = front.line(slip.name.module, dice.choice((VICTIM, STEADY)))
            posted.append((slip, line, line.post(slip)))
        killed_at = front.processes[VICTIM].until("killed_at")["killed_at"]
        embedded.attach(database_folder).detach()
        front.books.open()
        receipts = {slip: line.answer(counter) for slip, line, counter in posted}
        doubtful = set.union(*(process.committing() for process in front.processes))
        for slip, receipt in receipts.items():
            if (slip.name.module, slip.name.sequence) in doubtful:
                assert read(receipt).result not in NOT_FINAL
        survived = front.books.value(
            "select count(*) from authorizations where decided_at < to_timestamp($1) and sequence = any ($2)",
            killed_at,
            [sequence for _, sequence in doubtful],
        )
        carried_out += survived
        undone += len(doubtful) - survived
        judge(witness, slips, receipts, dice, [VICTIM, STEADY])
    assert carried_out > 0
    assert undone > 0
    front.books.check()


@pytest.mark.parametrize("before", ["record", "commit"])
def test_a_switch_sleeps_with_its_locks_held(shopfront: Shopfront, switches: Switches, before: str) -> None:
    """PostgreSQL ends the sleeper's transaction, the other process carries on with the same card and takes over the
    same request; the sleeper wakes and adds nothing."""
    front = shopfront
    dsn, schema = front.switch_dsn, front.schema
    sleeper = switches.start(dsn, schema, KEK, idle_ms=IDLE_MS, stop_in_first_batch={"before": before})
    front.processes = [sleeper, switches.start(dsn, schema, KEK)]
    witness = sold(front)
    held, other, *_ = witness.cards
    sale = front.slip(TILLS[0], Command.SALE, card=held, amount=700)
    sleeping = front.line(TILLS[0], VICTIM)
    counter = sleeping.post(sale)
    sleeper.until("stopping")
    elsewhere = front.slip(TILLS[1], Command.SALE, card=other, amount=700)
    behind = front.slip(TILLS[1], Command.SALE, card=held, amount=500)
    witness.send((elsewhere, STEADY))
    witness.judge([behind], [settled(front, behind, STEADY)])
    witness.judge([sale], [settled(front, sale, STEADY)])
    sleeper.send(signal.SIGCONT)
    answer = sleeping.answer(counter)
    if read(answer).result not in NOT_FINAL:
        witness.judge([sale], [answer])
    witness.send((sale, VICTIM), (sale, STEADY), (behind, VICTIM))
    front.books.check()
