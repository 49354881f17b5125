"""Holds, sales and their undoing over one card, as one would tell them at a table: no batches, no accounts, no locks.

A card has money on it and a limit to which it may owe. A deed is numbered, and later deeds name it by its number. Each
deed answers with its result, the amount that it moved or held, what is on the card, and what of that is free.
"""

from dataclasses import dataclass, field

OK, INVALID, AMOUNT, NOT_FOUND, FUNDS = 0, 12, 13, 25, 51
Answer = tuple[int, int, int, int]


@dataclass
class Deed:
    """What was done: how much was asked and given, and what has become of it."""

    kind: str
    asked: int
    given: int = 0
    ok: bool = False
    of: "Deed | None" = None
    undone: bool = False
    back: int = 0  # refunded
    state: str = "open"  # of a hold


@dataclass
class ObviousCard:
    """One card and all that was done with it."""

    money: int
    limit: int = 0
    owed: int = 0
    deeds: dict[int, Deed] = field(default_factory=dict)
    buried: set[int] = field(default_factory=set)  # numbers that were undone before they came

    def free(self) -> int:
        """What can be taken."""
        held = sum(
            deed.given for deed in self.deeds.values() if deed.kind == "hold" and deed.ok and deed.state == "open"
        )
        return max(0, self.money + self.limit - held)

    def bring(self, amount: int) -> None:
        """Money comes: what is owed first."""
        settled = min(amount, self.owed)
        self.owed -= settled
        self.money += amount - settled

    def take_back(self, amount: int) -> None:
        """Money that was brought is taken again; what is not free any more is owed."""
        taken = min(amount, self.free())
        self.money -= taken
        self.owed += amount - taken

    def let_time_pass(self) -> None:
        """No hold is open any more."""
        for deed in self.deeds.values():
            if deed.kind == "hold" and deed.state == "open":
                deed.state = "over"

    def do(self, number: int, kind: str, amount: int, of: int) -> Answer:
        """Do it and say what came of it."""
        deed = Deed(kind, amount, of=self.deeds.get(of))
        too_late = of in self.buried and kind not in ("sale", "hold")
        result, moved = (INVALID, 0) if too_late else getattr(self, f"_{kind}")(deed)
        if kind == "reverse" and deed.of is None:
            self.buried.add(of)
            result = OK
        deed.ok, deed.given = result == OK, moved if result == OK else 0
        self.deeds[number] = deed
        return result, deed.given, self.money, self.free()

    def _sale(self, deed: Deed) -> tuple[int, int]:
        if deed.asked > self.free():
            return FUNDS, 0
        self.money -= deed.asked
        return OK, deed.asked

    def _hold(self, deed: Deed) -> tuple[int, int]:
        return (FUNDS, 0) if deed.asked > self.free() else (OK, deed.asked)

    def _confirm(self, deed: Deed) -> tuple[int, int]:
        hold = deed.of
        if hold is None:
            return NOT_FOUND, 0
        if not hold.ok or hold.kind != "hold" or hold.undone or hold.state != "open":
            return INVALID, 0
        if deed.asked > hold.given:
            return AMOUNT, 0
        hold.state = "confirmed"
        self.money -= deed.asked
        return OK, deed.asked

    def _release(self, deed: Deed) -> tuple[int, int]:
        hold = deed.of
        if hold is None:
            return NOT_FOUND, 0
        if not hold.ok or hold.kind != "hold" or hold.undone or hold.state != "open":
            return INVALID, 0
        hold.state = "released"
        return OK, hold.given

    def _refund(self, deed: Deed) -> tuple[int, int]:
        bought = deed.of
        if bought is None:
            return NOT_FOUND, 0
        if not bought.ok or bought.kind not in ("sale", "confirm") or bought.undone:
            return INVALID, 0
        if deed.asked > bought.given - bought.back:
            return INVALID, 0
        bought.back += deed.asked
        self.bring(deed.asked)
        return OK, deed.asked

    def _reverse(self, deed: Deed) -> tuple[int, int]:
        first = deed.of
        if first is None:
            return OK, 0  # remembered, should it still come
        if first.kind in ("release", "reverse"):
            return INVALID, 0
        if not first.ok:
            return OK, 0
        if deed.asked != first.asked:
            return INVALID, 0
        if first.undone:
            return OK, first.given
        if first.back or (first.kind == "hold" and first.state == "confirmed"):
            return INVALID, 0
        if first.kind == "hold" and first.state != "open":
            return OK, 0
        first.undone = True
        if first.kind == "hold":
            first.state = "reversed"
        elif first.kind == "refund" and first.of is not None:
            first.of.back -= first.given
            self.take_back(first.given)
        else:
            self.bring(first.given)
        return OK, first.given
