"""Reconciling: which differences are looked for, and how what was found is told.

What must hold: every promise of the ledger that no constraint keeps is one check here, over one view or function of
`ledger/sql/0009_books.sql`. A difference is what must never be, and ends the program as a refusal does. What only has
to be known (open holds, what cards owe, losses, totals that a module counted otherwise) is told apart from them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from authsrv.amounts import Units
from ledger.accounts import Account

HORIZON_DAYS: Final = 40
"""How far back totals are counted again: a name is recorded at most 36 days behind its date."""

SHOWN: Final = 20


class Check(NamedTuple):
    """A view that is empty when all is well, or a function of a first day; `sort` names its rows unless they do."""

    sort: str
    relation: str
    dated: bool = False


CHECKS: Final = (
    Check("trial balance", "unbalanced_units"),
    Check("balance", "unbalanced_balances"),
    Check("held", "unbalanced_held"),
    Check("closing", "wrong_closings"),
    Check("authorization", "wrong_authorizations"),
    Check("number twice", "duplicate_numbers"),
    Check("reversal", "wrong_reversals"),
    Check("undo", "wrong_undos"),
    Check("undone beyond", "undone_beyond"),
    Check("undo forgotten", "forgotten_undos"),
    Check("hold", "wrong_holds"),
    Check("hold missing", "ends_without_hold"),
    Check("charge", "wrong_charges"),
    Check("debt", "wrong_debts"),
    Check("account", "wrong_accounts"),
    Check("floor", "wrong_floors"),
    Check("pass", "wrong_passes"),
    Check("lapse", "wrong_lapses"),
    Check("card", "wrong_cards"),
    Check("totals", "wrong_totals"),
    Check("late totals", "late_totals_since", dated=True),
    Check("page", "wrong_pages"),
    Check("trail", "wrong_trail"),
)

MEANING: Final = {
    "trial balance": "a unit does not sum to zero",
    "balance": "a balance is not what its postings add up to",
    "held": "what is held back is not what the open holds make",
    "closing": "a day was closed with another balance than its postings make",
    "not approved": "a posting of what was not approved",
    "moved": "an approval that moved another amount than it says, or nothing",
    "accounts": "a posting between accounts that its command does not move",
    "unit": "a posting in another unit than the card's",
    "approved": "an approved amount that does not follow from what was asked and answered",
    "answer": "no answer is kept, so that a repeat gets none",
    "number": "an authorization number that is not one of its month, or fails its check digit",
    "day": "a booked day or a date that does not follow from the time of the decision",
    "reference": "a module, branch, card or programme that is not there or is another",
    "number twice": "an authorization number that was given twice",
    "reversal": "a reversal that did not give back what its original moved",
    "undo": "something is undone without an authorization that did it, or by another amount",
    "undone beyond": "more is undone than was approved, or twice",
    "undo forgotten": "a refund or its reversal of which the original knows nothing",
    "hold": "a hold and its authorizations say different things",
    "hold missing": "a hold was confirmed or released that is not there",
    "charge": "a purchase on credit and its charge say different things",
    "debt": "the charges of a credit card are not what was bought with it",
    "account": "an account that cannot be: another unit than the card's, or owing the wrong way",
    "floor": "a floor that no rule and no command gave",
    "below": "a value below its floor",
    "pass": "a pass that lapses on another day than the one after its last, or never",
    "lapse": "visits that lapsed of no pass, or before its end",
    "card": "a card is active or closed, or is not, against what its authorizations say",
    "block": "a card is blocked, or is not, against what its authorizations say",
    "card number": "no live number leads to a card, or more than one",
    "totals": "totals without their authorization, or answered otherwise than they compare",
    "late totals": "totals that would be counted otherwise now: a request of theirs came behind them",
    "page": "a further page of an answer that is not there",
    "trail": "an act of an operator without its entry in the audit trail, or an entry without its act",
}
"""What each sort of difference is, in the order in which they are told."""


class Difference(NamedTuple):
    """A row that must not be: whose it is, and what was found and expected where numbers say more."""

    module: int | None = None
    date: str | None = None
    sequence: int | None = None
    number: int | None = None
    card: int | None = None
    kind: int | None = None
    unit: int | None = None
    found: int | None = None
    expected: int | None = None

    @property
    def name(self) -> str | None:
        """The name of the authorization, or of a lapse, which has no module."""
        if self.sequence is None:
            return self.date
        return f"{self.module}/{self.date}/{self.sequence}" if self.module else f"lapse {self.sequence} of {self.date}"


class Found(NamedTuple):
    """The differences of one sort: how many there are, and the first of them."""

    sort: str
    many: int
    rows: tuple[Difference, ...]


class Sum(NamedTuple):
    """What stands on the accounts of one kind in a unit, above and below zero apart; of cards by programme kind."""

    unit: int
    account: str
    programme_kind: str | None
    above: int
    below: int


class Listed(NamedTuple):
    """Something to know: how many there are, what they add up to by unit, and the first of them."""

    what: str
    many: int
    sums: Mapping[int, int]
    rows: tuple[Mapping[str, Any], ...]


INFORMATION: Final = {
    "open holds": "open_holds",
    "expired holds that nobody has ended yet": "(select * from open_holds where over)",
    "cards that owe": "owing_cards",
    "losses": "losses",
    "passes that have ended and not lapsed yet": "passes_to_lapse",
    "totals that a module counted otherwise": "differing_totals",
}
"""What finance should know that is no difference, and where it is read."""


def told(found: Iterable[Found], units: Units) -> tuple[str, ...]:
    """Lines for the differences, each sort under what it is."""
    lines: list[str] = []
    for sort in found:
        lines.append(f"{sort.sort}: {sort.many}, {MEANING.get(sort.sort, sort.sort)}")
        lines += [f"  {_difference(row, units)}" for row in sort.rows]
        if sort.many > len(sort.rows):
            lines.append(f"  and {sort.many - len(sort.rows)} more")
    return tuple(lines)


def _difference(row: Difference, units: Units) -> str:
    parts: list[str] = []
    if row.name is not None:
        parts.append(row.name)
    if row.number is not None:
        parts.append(f"authorization {row.number:012d}")
    if row.card is not None:
        parts.append(f"card {row.card}")
    if row.kind is not None:
        parts.append(f"account {account_name(row.kind)}")
    numbers = []
    for word, minor in (("found", row.found), ("expected", row.expected)):
        if minor is not None:
            numbers.append(f"{word} {minor if row.unit is None else units.written(minor, row.unit)}")
    if numbers:
        parts.append(" ".join(numbers))
    elif row.unit is not None:
        parts.append(units.name(row.unit))
    return ", ".join(parts)


def account_name(kind: int) -> str:
    """The name of an account's kind, or its number."""
    return _ACCOUNTS.get(kind, str(kind))


_ACCOUNTS: Final = {account.value: account.name.lower() for account in Account}


_TEXTS: Final = {
    "liability": "what is left on cards, to be given for",
    "paid ahead": "what credit cards have paid ahead",
    "receivable": "what credit cards owe",
    "below zero": "below zero, which cannot be",
    "owed": "what cards owe after an undoing",
    "tender": "taken for loads and payments, less paid out",
    "redeemed": "sold on cards, less given back",
    "loss": "what nobody will pay",
    "lapsed": "what ended unused",
}


def summary(sums: Sequence[Sum]) -> dict[int, dict[str, int]]:
    """By unit: what stands on each line of the trial balance, in minor units; a unit's lines add up to zero."""
    units: dict[int, dict[str, int]] = {}
    for each in sums:
        lines = units.setdefault(each.unit, {})
        if each.account == "value":
            above, below = (
                ("paid ahead", "receivable") if each.programme_kind == "credit" else ("liability", "below zero")
            )
            for line, minor in ((above, each.above), (below, each.below)):
                if minor:
                    lines[line] = lines.get(line, 0) + minor
        else:
            lines[each.account] = lines.get(each.account, 0) + each.above + each.below
    return {
        unit: {line: lines[line] for line in (*_TEXTS, *(set(lines) - set(_TEXTS))) if line in lines}
        for unit, lines in sorted(units.items())
    }


def told_summary(sums: Sequence[Sum], units: Units) -> tuple[str, ...]:
    """Lines for the trial balance of each unit."""
    lines: list[str] = []
    for unit, balances in summary(sums).items():
        lines.append(f"{units.name(unit)}: trial balance")
        lines += [
            f"  {line:<12}{units.digits(minor, unit):>20}  {_TEXTS.get(line, '')}".rstrip()
            for line, minor in balances.items()
        ]
        lines.append(f"  {'sum':<12}{units.digits(sum(balances.values()), unit):>20}")
    return tuple(lines)


def told_information(listed: Iterable[Listed], units: Units) -> tuple[str, ...]:
    """Lines for what is to be known: how many, what they add up to, and the first of them by name, number or card."""
    lines: list[str] = []
    for each in listed:
        sums = ", ".join(units.written(minor, unit) for unit, minor in sorted(each.sums.items()))
        lines.append(f"{each.what}: {each.many}{f', {sums}' if sums else ''}")
        for row in each.rows:
            known = Difference(**{key: row[key] for key in Difference._fields if key in row})
            amount = row.get("amount")
            more = [] if amount is None or known.unit is None else [units.written(amount, known.unit)]
            day = row.get("expires_at") or row.get("lapses_on")
            lines.append(
                "  "
                + ", ".join([_difference(known._replace(unit=None), units), *more, *([f"due {day}"] if day else [])])
            )
        if each.many > len(each.rows):
            lines.append(f"  and {each.many - len(each.rows)} more")
    return tuple(lines)
