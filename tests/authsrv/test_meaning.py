"""What a programme means is told as it is: every rule, and amounts with the digits of their currency."""

from dataclasses import replace
from datetime import date
from importlib.resources import files

import pytest

from authsrv.meaning import amount, meaning
from loyalty.programme import AccessCode, Begins, DueFrom, Kind
from loyalty.source import parse_programme, schema

EXAMPLES = {
    kind: parse_programme(files("loyalty").joinpath("programmes", f"{kind}.toml").read_text("utf-8"), kind)
    for kind in Kind
}


def test_a_gift_card() -> None:
    """The example, rule by rule."""
    assert meaning(EXAMPLES[Kind.GIFT]) == (
        '"Gift card", for cards of the kind gift; a card that has an access code needs it',
        "in force from 2025-01-01 until a later version takes over, at every branch",
        "a card is valid for 36 months after its activation, through the end of the last day",
        "loads from 5.00 to 500.00 EUR, at most 5 a day; a card holds at most 1000.00 EUR",
        "can be reloaded",
        "purchases of any amount; above what is available, a part is taken",
        "an amount is held for 60 minutes; goods brought back are credited; the balance can be paid out",
    )


def test_a_pass() -> None:
    """The example, rule by rule; no purchases."""
    assert meaning(EXAMPLES[Kind.VISITS])[2:] == (
        "a card is valid for 3 months after its first visit, through the end of the last day",
        "10 visits, at most 3 a day; who comes back within 15 minutes is on the same visit",
        "can be reloaded with 10 visits; at most 2 loads a day",
        "a desk may freeze it for at most 30 days at a time",
    )


def test_local_credit() -> None:
    """The example, rule by rule."""
    assert meaning(EXAMPLES[Kind.CREDIT])[2:] == (
        "a card is valid without end",
        "a new card may owe 200.00 EUR, and a desk may raise that to 2000.00 EUR",
        (
            "a purchase is to be paid within 14 days after the end of its month; "
            "a payment that is more than 30 days late stops further purchases"
        ),
        "purchases of any amount; above what is available, nothing is taken",
        "an amount is held for 60 minutes; goods brought back are credited; the balance can be paid out",
    )


@pytest.mark.parametrize(
    ("minor", "currency", "written"),
    [
        (500, "EUR", "5.00 EUR"),
        (7, "EUR", "0.07 EUR"),
        (0, "EUR", "0.00 EUR"),
        (500, "JPY", "500 JPY"),
        (500, "KWD", "0.500 KWD"),
        (2**63 - 1, "EUR", "92233720368547758.07 EUR"),
        (500, "XAU", "500 minor units of XAU, a currency that no issuer can have"),
    ],
)
def test_amounts_have_the_digits_of_their_currency(minor: int, currency: str, written: str) -> None:
    """None, two or three, as ISO 4217 says."""
    assert amount(minor, currency) == written


OTHERWISE: dict[str, object] = {
    "title": "Another",
    "effective_from": date(2025, 1, 2),
    "effective_until": date(2030, 1, 1),
    "access_code": AccessCode.REQUIRED,
    "branches": (1, 2),
    "currency": "JPY",
    "begins": Begins.PURCHASE,
    "due_from": DueFrom.PURCHASE,
}
RULES = [
    (kind, key)
    for key, about in schema()["properties"].items()
    if key not in ("name", "version", "kind")
    for kind in about.get("kinds", Kind)
]


@pytest.mark.parametrize(("kind", "key"), RULES)
def test_every_rule_makes_a_difference(kind: Kind, key: str) -> None:
    """Whatever a kind of card has, changed alone, is seen in its lines."""
    example = EXAMPLES[kind]
    now = getattr(example, key)
    other = OTHERWISE[key] if key in OTHERWISE else not now if isinstance(now, bool) else (now or 0) + 1
    assert meaning(replace(example, **{key: other})) != meaning(example)


def test_what_is_left_out_is_told_too() -> None:
    """No limit, no freezing, no holds; and one of a thing is not called many."""
    told = "\n".join(
        meaning(
            replace(
                EXAMPLES[Kind.VISITS],
                visits=1,
                visits_per_day=None,
                same_visit_minutes=0,
                freeze_days_maximum=None,
                reloadable=False,
                branches=(7,),
                valid_months=None,
                valid_days=1,
            )
        )
        + meaning(replace(EXAMPLES[Kind.GIFT], hold_minutes=None, refundable=False, cash_out=False, partial=False))
        + meaning(replace(EXAMPLES[Kind.CREDIT], overdue_block_days=None))
    )
    for line in (
        *("at branch 7\n", "valid for 1 day after", "1 visit, at most all of them a day; each entry is a visit\n"),
        *("cannot be reloaded\n", "cannot be frozen\n", "nothing can be held; goods brought back are not credited; "),
        *("the balance cannot be paid out\n", "nothing is taken\n", "a late payment stops no purchases\n"),
    ):
        assert line in told


def test_a_title_stays_on_its_line() -> None:
    """Whatever signs are in it, none of them moves a cursor."""
    first, *_ = meaning(replace(EXAMPLES[Kind.GIFT], title="Dāvana \x1b[2J"))
    assert first.startswith('"Dāvana \\u001b[2J", ')
