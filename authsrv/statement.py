"""Finance's reports: what the ledger's functions for reports return, shaped into sheets.

What must hold: a report says whose it is, for which booked days, and what its columns count, so that a print-out alone
can be read. A card is named by its id in the ledger, or by the last four of the number that was asked for.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from authsrv.amounts import Units
from authsrv.sheet import Align, Amount, Cell, Column, Sheet

DIMENSIONS: Final = ("day", "branch", "module", "cashier", "programme")

Row = Mapping[str, Any]


class Names(NamedTuple):
    """Whose books these are, in what units, and what people call branches, modules and programmes."""

    issuer: str
    units: Units
    branches: Mapping[int, str]
    modules: Mapping[int, str]
    programmes: Mapping[int, str]


_UNIT: Final = Column("unit", "unit")


def _number(key: str, title: str) -> Column:
    return Column(key, title, Align.RIGHT)


def _sum(key: str, title: str) -> Column:
    return Column(key, title, Align.RIGHT, summed=True)


def _name(known: Mapping[int, str], number: int | None) -> str:
    return "" if number is None else known.get(number, "?")


def sales(rows: Iterable[Row], names: Names, by: Sequence[str], first: dt.date, last: dt.date) -> Sheet:
    """What was moved on booked days, by the dimensions asked for and the sort of movement."""
    columns: list[Column] = []
    for dimension in by:
        columns.append(Column(dimension, dimension))
        if dimension in ("branch", "module"):
            columns.append(Column(f"{dimension}_name", "name"))

    def place(row: Row) -> list[Cell]:
        cells: list[Cell] = []
        for dimension in by:
            number = row[dimension]
            match dimension:
                case "branch":
                    cells += [number, _name(names.branches, number)]
                case "module":
                    cells += [number, _name(names.modules, number)]
                case "programme":
                    cells.append(_name(names.programmes, number))
                case _:
                    cells.append(number)
        return cells

    return Sheet(
        f"{names.issuer}: sales and loads",
        (
            f"booked from {first} to {last}",
            "A reversal counts on its own day, branch and cashier; net is the amount less what was reversed.",
        ),
        (
            *columns,
            Column("movement", "movement"),
            _UNIT,
            _number("count", "count"),
            _number("amount", "amount"),
            _number("reversals", "reversals"),
            _number("reversed", "reversed"),
            _number("net", "net"),
        ),
        tuple(
            (
                *place(row),
                row["movement"],
                names.units.name(row["unit"]),
                row["count"],
                Amount(int(row["amount"]), row["unit"]),
                row["reversals"],
                Amount(int(row["reversed"]), row["unit"]),
                Amount(int(row["amount"] - row["reversed"]), row["unit"]),
            )
            for row in rows
        ),
        names.units,
    )


def outstanding(rows: Iterable[Row], names: Names, day: dt.date) -> Sheet:
    """What cards are owed and owe at the end of a booked day, by programme."""
    return Sheet(
        f"{names.issuer}: outstanding",
        (
            f"at the end of {day}, by what was booked until then",
            "Liability: what is left on cards. Receivable: what credit cards owe. Owed: after an undoing.",
        ),
        (
            Column("programme", "programme"),
            Column("kind", "kind"),
            _UNIT,
            _sum("cards", "cards"),
            _sum("liability", "liability"),
            _sum("receivable", "receivable"),
            _sum("owed", "owed"),
        ),
        tuple(
            (
                _name(names.programmes, row["programme"]),
                row["kind"],
                names.units.name(row["unit"]),
                row["cards"],
                *(Amount(int(row[key]), row["unit"]) for key in ("liability", "receivable", "owed")),
            )
            for row in rows
        ),
        names.units,
    )


_AGES: Final = {"current": "current", "to_30": "1-30", "to_60": "31-60", "to_90": "61-90", "beyond": "over 90"}


def ageing(rows: Iterable[Row], names: Names, day: dt.date, *, by_card: bool) -> Sheet:
    """What credit cards owe at the end of a booked day, by how many days it has been due."""
    rows = list(rows)
    if not by_card:
        rows = _by_programme(rows)
    who = (Column("card", "card"),) if by_card else (_sum("cards", "cards"),)
    return Sheet(
        f"{names.issuer}: receivables by age",
        (
            f"at the end of {day}, by days overdue; payments settle the oldest charge first",
            "Debt that no purchase explains (money paid out, and its payment undone) counts as current.",
        ),
        (
            Column("programme", "programme"),
            *who,
            _UNIT,
            _sum("debt", "debt"),
            *(_sum(key, title) for key, title in _AGES.items()),
        ),
        tuple(
            (
                _name(names.programmes, row["programme"]),
                row["card"] if by_card else row["cards"],
                names.units.name(row["unit"]),
                *(Amount(int(row[key]), row["unit"]) for key in ("debt", *_AGES)),
            )
            for row in rows
        ),
        names.units,
    )


def _by_programme(rows: Iterable[Row]) -> list[Row]:
    sums: dict[tuple[int, int], dict[str, Any]] = {}
    for row in rows:
        key = (row["programme"], row["unit"])
        total = sums.setdefault(
            key, {"programme": row["programme"], "unit": row["unit"], "cards": 0, "debt": 0, **dict.fromkeys(_AGES, 0)}
        )
        total["cards"] += 1
        for each in ("debt", *_AGES):
            total[each] += row[each]
    return list(sums.values())


_ON_CREDIT: Final = {"sale": "charge", "refund": "credit"}


class Account(NamedTuple):
    """A card whose statement is written: how it is named, its programme and whether that is credit, and its unit."""

    card: str
    programme: str
    credit: bool
    unit: int


def statement(
    account: Account,
    names: Names,
    days: tuple[dt.date, dt.date],
    *,
    opening: int,
    movements: Iterable[Row],
    open_charges: Iterable[Row],
) -> Sheet:
    """What happened to a card on booked days, from the balance before to the balance after, and what is due when.

    A balance above zero is what the card is owed, below zero what it owes.
    """
    first, last = days
    unit = account.unit
    rows: list[tuple[Cell, ...]] = [(first, None, None, "opening", None, None, Amount(opening, unit))]
    balance, charged, paid = opening, 0, 0
    for row in movements:
        effect = int(row["effect"])
        balance += effect
        charged, paid = (charged - effect, paid) if effect < 0 else (charged, paid + effect)
        what = _ON_CREDIT.get(row["movement"], row["movement"]) if account.credit else row["movement"]
        rows.append(
            (
                row["booked_on"],
                None if row["number"] is None else f"{row['number']:012d}",
                _name(names.branches, row["branch"]),
                f"{what} reversed" if row["reversal"] else what,
                Amount(-effect, unit) if effect < 0 else None,
                Amount(effect, unit) if effect >= 0 else None,
                Amount(balance, unit),
            )
        )
    rows.append((last, None, None, "closing", Amount(charged, unit), Amount(paid, unit), Amount(balance, unit)))
    due = [
        f"due {row['due_on']}: {names.units.written(int(row['open']), unit)}"
        + (f" of {row['module']}/{row['date']}/{row['sequence']}" if row["module"] is not None else "")
        for row in open_charges
    ]
    return Sheet(
        f"{names.issuer}: statement",
        (
            f"card {account.card}, {account.programme}, booked from {first} to {last}, in {names.units.name(unit)}",
            *(["A balance below zero is owed by the holder."] if account.credit else []),
            *(due or ([f"nothing is due at the end of {last}"] if account.credit else [])),
        ),
        (
            Column("booked_on", "booked"),
            Column("authorization", "authorization"),
            Column("branch", "branch"),
            Column("movement", "movement"),
            _number("debit", "charged"),
            _number("credit", "paid or credited"),
            _number("balance", "balance"),
        ),
        tuple(rows),
        names.units,
    )


def settlement(rows: Iterable[Row], names: Names, first: dt.date, last: dt.date) -> Sheet:
    """What each branch took for cards and gave on them, so that branches of different owners can settle."""
    return Sheet(
        f"{names.issuer}: settlement between branches",
        (
            f"booked from {first} to {last}; loads and payments less what was paid out, sales less what was given back",
            "Net is taken less given: a branch above zero holds money for goods that are, or will be, given elsewhere.",
            "On others' cards, elsewhere: by the branch that activated the card; due is the one less the other.",
        ),
        (
            Column("branch", "branch"),
            Column("name", "name"),
            _UNIT,
            _sum("taken", "taken"),
            _sum("given", "given"),
            _sum("net", "net"),
            _sum("given_on_others", "on others' cards"),
            _sum("given_elsewhere", "own cards elsewhere"),
            _sum("due", "due"),
        ),
        tuple(
            (
                row["branch"],
                _name(names.branches, row["branch"]),
                names.units.name(row["unit"]),
                *(
                    Amount(int(minor), row["unit"])
                    for minor in (
                        row["taken"],
                        row["given"],
                        row["taken"] - row["given"],
                        row["given_on_others"],
                        row["given_elsewhere"],
                        row["given_on_others"] - row["given_elsewhere"],
                    )
                ),
            )
            for row in rows
        ),
        names.units,
    )
