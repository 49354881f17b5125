"""What a batch adds to the totals that the database counted before it.

What must hold: it counts as `count_totals` in the ledger's SQL will once the batch is recorded, so that totals are the
same whether what they cover was recorded before or comes along with them.
"""

from collections.abc import Iterable, Mapping

from authsrv.table import APPROVALS
from ledger.authorizations import Authorization, Original
from ledger.names import Name
from ledger.totals import DATES_AROUND, Interval, Pair
from protocol.numbers import AMOUNT_END, Command, Reason, totals_kind


def with_batch(
    interval: Interval, counted: tuple[Pair, ...], decided: Iterable[Authorization], known: Mapping[Name, Original]
) -> tuple[Pair, ...]:
    """The pairs with what was decided in the batch.

    Args:
        interval: what is counted.
        counted: the pairs before the batch.
        decided: the batch's own authorizations until now.
        known: the originals that they refer to.

    """
    rows = [row for row in decided if _within(interval, row.name) and row.result in APPROVALS and not row.tombstone]
    undone = {undo.original for row in rows for undo in row.undos if undo.reversal and _within(interval, undo.original)}
    pairs = [list(pair) for pair in counted]

    def count(command: int, amount: int, times: int) -> None:
        pair = pairs[totals_kind(command)]
        pair[0] += times
        pair[1] += times * amount

    for row in rows:
        if row.unit != interval.unit or row.name in undone:
            continue
        if row.command != Command.REVERSE or (row.reason == Reason.NONE and row.original not in undone):
            count(row.command, row.approved, 1)
    for name in undone - {row.name for row in rows}:
        if known[name].unit == interval.unit:
            count(known[name].command, known[name].approved, -1)
    return tuple((count, min(total, AMOUNT_END - 1)) for count, total in pairs)


def _within(interval: Interval, name: Name) -> bool:
    near = interval.from_date - DATES_AROUND <= name.date <= interval.to_date + DATES_AROUND
    return name.module == interval.module and interval.first <= name.sequence <= interval.last and near
