"""The books as a journal for others: double entry in the words of hledger and of beancount.

What must hold: every posting is there once, and the journal's balances are the ledger's. A bookkeeper's signs: a debit
is above zero. Amounts are exact. Exports of days that follow each other, one behind the other in one file, are the
export of all of them: an account is opened in beancount on the first day that it moved, and so in one of them.

    value       what cards hold      liabilities:cards:PROGRAMME, or assets:credit:PROGRAMME where they owe
    owed        after an undoing     assets:owed:PROGRAMME
    tender      taken at branches    assets:tender:branch-N
    redeemed    sold at branches     income:redeemed:branch-N
    lapsed      ended unused         income:lapsed
    loss        nobody will pay      expenses:loss
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from authsrv.amounts import Units
from ledger.accounts import Account
from protocol.numbers import VISIT, Command


class Dialect(Enum):
    """Whose words a journal is written in."""

    HLEDGER = "hledger"
    BEANCOUNT = "beancount"


class Line(NamedTuple):
    """What an entry does to one account: a debit of minor units, or a credit below zero."""

    account: str
    unit: int
    debit: int

    def __repr__(self) -> str:
        return f"<Line of {self.account}>"


class Entry(NamedTuple):
    """A transaction of the journal: its booked day, what it was and where, its authorization, card and lines."""

    day: dt.date
    what: str
    where: str
    number: int | None
    card: int | None
    lines: tuple[Line, ...]


class Chart(NamedTuple):
    """What accounts are called: programmes by number, with their kinds."""

    programmes: Mapping[int, str]
    kinds: Mapping[int, str | None]

    def account(self, kind: int, programme: int | None, branch: int | None) -> str:
        """The account in the words of hledger: of a card by its programme, of a branch by its number."""
        match kind:
            case Account.VALUE:
                of_credit = programme is not None and self.kinds.get(programme) == "credit"
                return f"{'assets:credit' if of_credit else 'liabilities:cards'}:{self._programme(programme)}"
            case Account.OWED:
                return f"assets:owed:{self._programme(programme)}"
            case Account.TENDER:
                return "assets:tender" + ("" if branch is None else f":branch-{branch}")
            case Account.REDEEMED:
                return "income:redeemed" + ("" if branch is None else f":branch-{branch}")
            case Account.LAPSED:
                return "income:lapsed"
            case Account.LOSS:
                return "expenses:loss"
            case _:
                return f"equity:account-{kind}"

    def _programme(self, programme: int | None) -> str:
        return "none" if programme is None else self.programmes.get(programme, f"programme-{programme}")

    def entry(self, rows: Sequence[Mapping[str, Any]]) -> Entry:
        """An entry from its rows: of a booked day and a branch, or of an authorization."""
        row = rows[0]
        where = "" if row["branch"] is None else f"branch {row['branch']}"
        number = card = None
        if "module" in row:
            number, card = row["number"], row["card"]
            where = ", ".join(filter(None, (where, f"module {row['module']}" if row["module"] else "", _name(row))))
        return Entry(
            row["booked_on"],
            _what(row),
            where,
            number,
            card,
            tuple(
                Line(self.account(each["kind"], each["programme"], each["branch"]), each["unit"], int(each["debit"]))
                for each in rows
            ),
        )


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What rows of one entry have in common; they come one behind the other."""
    if "module" in row:
        return (row["module"], row["date"], row["sequence"])
    return (row["booked_on"], row["branch"])


def _what(row: Mapping[str, Any]) -> str:
    command = row.get("command")
    if "module" not in row:
        return "lapsed" if row["branch"] is None else "booked"
    if command is None:
        return "lapsed"
    return Command(command).name.lower().replace("_", " ") if command in _COMMANDS else f"command {command}"


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['date']} {row['sequence']}"


_COMMANDS: Final = frozenset(command.value for command in Command)


class Journal(NamedTuple):
    """One journal in one dialect, as text: `head`, then `entry` for each, then perhaps `balances`."""

    dialect: Dialect
    issuer: str
    units: Units

    def head(self, first: dt.date, last: dt.date, accounts: Mapping[str, dt.date]) -> str:
        """What has to be declared.

        Args:
            first: the first booked day of the journal.
            last: the last one.
            accounts: all that have moved until then, each with the first day that it did.

        """
        lines = [f"; {self.issuer}: what was booked from {first} to {last}, by authsrv"]
        if self.dialect is Dialect.BEANCOUNT:
            lines += [f"{day} open {_capital(account)}" for account, day in sorted(accounts.items()) if day >= first]
        else:
            lines.append("decimal-mark .")
            lines += [
                f"commodity 1000.{'0' * self.units.decimals(unit)} {self.units.name(unit)}"
                for unit in (self.units.currency, VISIT)
            ]
            lines += [f"account {account}" for account in sorted(accounts)]
        return "\n".join(lines) + "\n"

    def entry(self, entry: Entry) -> str:
        """A transaction, after an empty line."""
        if self.dialect is Dialect.BEANCOUNT:
            lines = [f'{entry.day} * "{entry.what}" "{entry.where}"']
            lines += [] if entry.number is None else [f'  number: "{entry.number:012d}"']
            lines += [] if entry.card is None else [f"  card: {entry.card}"]
        else:
            number = "" if entry.number is None else f"({entry.number:012d}) "
            card = "" if entry.card is None else f"  ; card:{entry.card}"
            lines = [f"{entry.day} {number}{', '.join(filter(None, (entry.what, entry.where)))}{card}"]
        lines += [
            f"    {self._account(line.account)}  {self.units.written(line.debit, line.unit)}" for line in entry.lines
        ]
        return "\n" + "\n".join(lines) + "\n"

    def balances(self, last: dt.date, balances: Iterable[Line]) -> str:
        """What has to stand on the accounts behind the last booked day, those below them counted in."""
        after = last + dt.timedelta(days=1)
        if self.dialect is Dialect.BEANCOUNT:
            lines = [  # exactly: without "~ 0" a last digit would be let pass
                f"{after} balance {_capital(line.account)}  {self.units.digits(line.debit, line.unit)} ~ 0 "
                f"{self.units.name(line.unit)}"
                for line in balances
            ]
        else:
            lines = [f"{after} balances of the ledger"]
            lines += [
                f"    {line.account}  0 {self.units.name(line.unit)} =* {self.units.written(line.debit, line.unit)}"
                for line in balances
            ]
        return "\n" + "\n".join(lines) + "\n"

    def _account(self, account: str) -> str:
        return _capital(account) if self.dialect is Dialect.BEANCOUNT else account


def _capital(account: str) -> str:
    """An account in the words of beancount, whose parts begin with a capital."""
    return ":".join(part[0].upper() + part[1:] for part in account.split(":"))


def opened(rows: Iterable[Mapping[str, Any]], chart: Chart) -> dict[str, dt.date]:
    """The accounts that have moved, and those above them that balances are told of, each with the first day."""
    accounts: dict[str, dt.date] = {}
    for row in rows:
        for branch in (row["branch"], None):
            account = chart.account(row["kind"], row["programme"], branch)
            accounts[account] = min(accounts.get(account, row["first"]), row["first"])
    return accounts
