"""Facts of a receipt."""

import datetime as dt

from receipts.facts import ReceiptFacts


def test_the_repr_shows_no_card_no_amount_and_no_name() -> None:
    """What goes into a log by accident tells nothing of a deal."""
    facts = ReceiptFacts(
        merchant="Secret",
        branch="Secret",
        module=1001,
        date=dt.date(2025, 11, 22),
        time=dt.time(14, 5),
        command="sale",
        result=0,
        reason=0,
        currency="EUR",
        exponent=2,
        programme="Secret",
        card="987654",
        requested=987654,
        approved=987654,
        still_due=987654,
        balance=987654,
        available=987654,
        owed=987654,
        authorization="987654",
        original="987654",
        till_receipt="987654",
    )
    assert "987654" not in repr(facts)
    assert "Secret" not in repr(facts)
    assert "1001" in repr(facts)
