"""What can go wrong between the ledger and its database, said in the ledger's own words.

A decline is a value; these are the faults. Each class is one answer to the only two questions that a caller has: did
this transaction happen, and is it worth trying again? Nothing of the database driver leaves `ledger/shell/door.py`,
and no message holds the value of a row: a driver's own text can quote keys and amounts.
"""

from __future__ import annotations


class LedgerFault(Exception):
    """A fault of the ledger's database; on its own it says that nothing was recorded, except for `InDoubt`."""


class NameTaken(LedgerFault):
    """Another transaction recorded one of these request names first; run the whole batch again and it will be found."""


class Conflict(LedgerFault):
    """Two transactions were in each other's way (SQLSTATE class 40); nothing was recorded, run the batch again."""


class BadRow(LedgerFault):
    """One of the rows breaks a rule of the ledger (classes 22, 23 and AU); halve the batch until it stands alone."""


class Unavailable(LedgerFault):
    """The database cannot do it now; nothing was recorded."""


class InDoubt(LedgerFault):
    """COMMIT was sent and nobody knows what became of it; only a recorded answer may leave now."""


class TooMuch(LedgerFault):
    """More is asked in one batch than is read in one transaction: nothing was done, run it in smaller ones."""


class Unfit(LedgerFault):
    """This server, role or schema may not be worked with; the message says what mends it."""
