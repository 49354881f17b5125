"""Receipts: whole ones, as paper shows them, on every width.

The files in `golden/` were read by a person. After a wanted change, `python tests/receipts/test_receipt.py` writes them
anew; read them again before they are committed.
"""

import datetime as dt
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.numbers import Reason, TotalsKind
from receipts.catalogue import catalogue, languages
from receipts.code_pages import CODECS, encode, transliterate
from receipts.facts import Counted, ReceiptFacts
from receipts.pages import paginate
from receipts.receipt import WIDTHS, copied, merchant_copy, render
from receipts.wording import Wording

GOLDEN = Path(__file__).parent / "golden"

FIELDS: dict[str, Any] = {
    "merchant": "Dzintara dāvanas",
    "branch": "Brīvības iela 12, Rīga",
    "module": 1001,
    "date": dt.date(2025, 11, 22),
    "time": dt.time(14, 5, 9),
    "command": "sale",
    "result": 0,
    "reason": 0,
    "currency": "EUR",
    "exponent": 2,
    "programme": "Gift card",
    "card": "9990001234567890",
    "requested": 1250,
    "approved": 1250,
    "balance": 3750,
    "available": 3750,
    "authorization": "311000000017",
    "cashier": 7,
    "till_receipt": "A-0017",
}


def sale(**other: Any) -> ReceiptFacts:
    """The facts of the sale above, some of them otherwise."""
    return ReceiptFacts(**(FIELDS | other))


def of_pass(**other: Any) -> ReceiptFacts:
    """The facts of a visit, some of them otherwise: amounts are numbers of visits."""
    visit: dict[str, Any] = {
        "merchant": "Sporta nams",
        "branch": "Tallinas iela 4, Rīga",
        "command": "visit",
        "currency": "",
        "exponent": 0,
        "programme": "Pass of 10 visits",
        "requested": None,
        "approved": 1,
        "balance": None,
        "available": None,
        "visits_left": 9,
        "valid_until": dt.date(2026, 2, 22),
        "till_receipt": "",
    }
    return sale(**(visit | other))


def of_credit(**other: Any) -> ReceiptFacts:
    """The facts of a purchase to be paid later, some of them otherwise."""
    purchase: dict[str, Any] = {
        "programme": "Customer account",
        "balance": -9250,
        "available": 10_750,
        "limit": 20_000,
        "due_on": dt.date(2025, 12, 14),
    }
    return sale(**(purchase | other))


def of_totals(**other: Any) -> ReceiptFacts:
    """The facts of totals that agree, some of them otherwise."""
    agreed: dict[str, Any] = {
        "command": "totals",
        "programme": "",
        "card": "",
        "requested": None,
        "approved": None,
        "balance": None,
        "available": None,
        "till_receipt": "",
        "interval": (17, 138),
        "totals": (
            Counted("activate", 3, 15_000, 3, 15_000),
            Counted("sale", 118, 214_390, 118, 214_390),
            Counted("cash_out", 1, 640, 1, 640),
        ),
    }
    return sale(**(agreed | other))


SALE = sale()
HELD_UNTIL = dt.datetime(2025, 11, 22, 14, 35, 9, tzinfo=dt.UTC)
NOT_TOLD: dict[str, Any] = {"programme": "", "balance": None, "available": None}  # to whom is not proven

# Name, facts, code page.
RECEIPTS: dict[str, tuple[ReceiptFacts, int]] = {
    "sale": (SALE, 0),
    "sale_to_the_last_cent": (sale(requested=5000, approved=5000, balance=0, available=0), 0),
    "sale_in_part": (
        sale(result=10, requested=5000, approved=3750, still_due=1250, balance=0, available=0),
        0,
    ),
    "sale_declined": (
        sale(result=51, reason=5101, requested=5000, approved=None, keyed=True),
        0,
    ),
    "reversal": (
        sale(
            command="reverse",
            original="311000000017",
            authorization="311000000025",
            till_receipt="",
            balance=5000,
            available=5000,
        ),
        0,
    ),
    "reversal_owed": (
        sale(
            command="reverse",
            requested=2000,
            approved=2000,
            original="311000000017",
            authorization="311000000025",
            balance=0,
            available=0,
            owed=550,
        ),
        0,
    ),
    "reversal_before_its_original": (
        sale(command="reverse", reason=2, approved=None, balance=None, available=None, programme="", card=""),
        0,
    ),
    "tries_exceeded": (
        sale(result=75, reason=7501, approved=None, balance=None, available=None),
        0,
    ),
    "activation": (
        sale(
            command="activate",
            requested=5000,
            approved=5000,
            balance=5000,
            available=5000,
            valid_until=dt.date(2028, 11, 22),
        ),
        0,
    ),
    "balance": (
        sale(command="balance", requested=None, approved=None, till_receipt="", balance=0, available=0),
        0,
    ),
    "no_database": (
        sale(result=91, reason=9102, approved=None, balance=None, available=None, authorization="", programme=""),
        0,
    ),
    "hold": (
        sale(command="hold", requested=2000, approved=2000, balance=5000, available=3000, held_until=HELD_UNTIL),
        0,
    ),
    "hold_in_part": (
        sale(
            command="hold",
            result=10,
            requested=6000,
            approved=5000,
            still_due=1000,
            balance=5000,
            available=0,
            held_until=HELD_UNTIL,
        ),
        0,
    ),
    "confirm": (
        sale(
            command="confirm",
            requested=1850,
            approved=1850,
            balance=3150,
            available=3150,
            authorization="311000000025",
            original="311000000017",
        ),
        0,
    ),
    "release": (
        sale(
            command="release",
            card="",
            requested=None,
            approved=2000,
            balance=5000,
            available=5000,
            authorization="311000000025",
            original="311000000017",
        ),
        0,
    ),
    "refund": (
        sale(
            command="refund",
            requested=550,
            approved=550,
            balance=4300,
            available=4300,
            authorization="311000000025",
            original="311000000017",
        ),
        0,
    ),
    "cash_out": (sale(command="cash_out", requested=None, approved=3750, balance=0, available=0), 0),
    "block": (sale(command="block", requested=None, approved=None), 0),
    "block_of_a_card_with_a_code": (
        sale(command="block", requested=None, approved=None, balance=None, available=None, programme=""),
        0,
    ),
    "unblock": (sale(command="unblock", requested=None, approved=None), 0),
    "change_of_code": (sale(command="change_access_code", requested=None, approved=None), 0),
    "replacement": (sale(command="replace", requested=None, approved=None, new_card="9990001234560042"), 0),
    "replacement_of_a_card_with_a_code": (
        sale(command="replace", reason=5, requested=None, approved=None, new_card="9990001234560042"),
        0,
    ),
    "reset_tries": (sale(command="reset_tries", requested=None, approved=None), 0),
    "pass": (
        of_pass(command="activate", requested=None, approved=10, visits_left=10, programme="Pass of 10 visits"),
        0,
    ),
    "visit": (of_pass(), 0),
    "visit_of_three": (of_pass(requested=3, approved=3, visits_left=1), 0),
    "same_visit": (of_pass(reason=4, approved=None), 0),
    "visit_declined": (of_pass(result=51, reason=5103, approved=None, visits_left=0), 0),
    "visit_reversed": (
        of_pass(command="reverse", approved=1, visits_left=10, authorization="311000000025", original="311000000017"),
        0,
    ),
    "freeze": (
        of_pass(
            command="freeze",
            requested=None,
            approved=None,
            valid_until=dt.date(2026, 3, 8),
            frozen_from=dt.date(2025, 12, 1),
            frozen_until=dt.date(2025, 12, 14),
        ),
        0,
    ),
    "freeze_ended": (
        of_pass(command="freeze", reason=6, requested=None, approved=None, valid_until=dt.date(2026, 2, 22)),
        0,
    ),
    "credit_sale": (of_credit(), 0),
    "payment": (
        of_credit(command="payment", requested=4000, approved=4000, balance=-5250, available=14_750),
        0,
    ),
    "payment_of_all": (
        of_credit(command="payment", requested=10_000, approved=10_000, balance=750, available=20_750, due_on=None),
        0,
    ),
    "limit": (
        of_credit(command="limit", requested=None, approved=None, limit=50_000, available=40_750, till_receipt=""),
        0,
    ),
    "totals": (of_totals(), 0),
    "totals_of_nothing": (of_totals(totals=()), 0),
    "totals_of_visits": (
        of_totals(
            currency="", exponent=0, totals=(Counted("activate", 2, 20, 2, 20), Counted("visit", 30, 31, 30, 31))
        ),
        0,
    ),
    "totals_differ": (
        of_totals(
            result=95,
            reason=9501,
            totals=(
                Counted("activate", 3, 15_000, 3, 15_000),
                Counted("sale", 118, 214_390, 117, 213_140),
                Counted("refund", 0, 0, 1, 1250),
            ),
        ),
        0,
    ),
    "declined_invalid": (sale(result=12, reason=1205, command="refund", approved=None, **NOT_TOLD), 0),
    "declined_amount": (sale(result=13, reason=1301, requested=None, approved=None), 0),
    "declined_card": (sale(result=14, reason=1401, approved=None, **NOT_TOLD), 0),
    "declined_original": (
        sale(result=25, reason=2501, command="refund", card="", approved=None, **NOT_TOLD),
        0,
    ),
    "declined_format": (
        sale(result=30, reason=3006, card="", requested=None, approved=None, cashier=0, till_receipt="", **NOT_TOLD),
        0,
    ),
    "declined_lost": (sale(result=41, reason=4101, approved=None, **NOT_TOLD), 0),
    "declined_stolen": (sale(result=43, reason=4301, approved=None, **NOT_TOLD), 0),
    "declined_held": (
        sale(result=51, reason=5102, requested=5000, approved=None, balance=5000, available=3000),
        0,
    ),
    "declined_expired": (sale(result=54, reason=5401, approved=None, **NOT_TOLD), 0),
    "declined_code": (sale(result=55, reason=5501, approved=None, **NOT_TOLD), 0),
    "declined_not_active": (sale(result=57, reason=5701, approved=None, **NOT_TOLD), 0),
    "declined_module": (sale(result=58, reason=5803, approved=None, **NOT_TOLD), 0),
    "declined_limit": (
        sale(result=61, reason=6103, command="reload", requested=50_000, approved=None),
        0,
    ),
    "declined_blocked": (sale(result=62, reason=6201, approved=None, **NOT_TOLD), 0),
    "declined_count": (sale(result=65, reason=6501, command="reload", approved=None), 0),
    "declined_late_original": (
        sale(result=12, reason=1209, card="", requested=None, approved=None, cashier=0, till_receipt="", **NOT_TOLD),
        0,
    ),
    "declined_duplicate": (
        sale(
            result=94,
            reason=9401,
            card="",
            requested=None,
            approved=None,
            cashier=0,
            till_receipt="",
            authorization="",
            **NOT_TOLD,
        ),
        0,
    ),
    "malfunction": (
        sale(
            result=96,
            reason=9601,
            card="",
            requested=None,
            approved=None,
            cashier=0,
            till_receipt="",
            authorization="",
            **NOT_TOLD,
        ),
        0,
    ),
    "shortest": (
        ReceiptFacts(
            merchant="",
            branch="",
            module=1,
            date=dt.date(2025, 1, 1),
            time=dt.time(),
            command="balance",
            result=0,
            reason=0,
            currency="EUR",
            exponent=2,
        ),
        0,
    ),
    "longest": (
        ReceiptFacts(
            merchant="Akciju sabiedrība „Latvijas dzintara, rotu un dāvanu nams” un partneri",
            branch="Tirdzniecības centrs „Daugavmala”, 2. stāvs, Krasta iela 46, Rīga, LV-1003",
            module=2**32 - 1,
            date=dt.date(2025, 11, 22),
            time=dt.time(23, 59, 59),
            command="change_access_code",
            result=10,
            reason=1207,
            currency="EUR",
            exponent=2,
            programme="Dāvanu karte „Ziemassvētki un Jaunais gads” 50 €",
            card="12345678901234567890",
            keyed=True,
            requested=2**63 - 1,
            approved=2**63 - 1,
            still_due=2**63 - 1,
            balance=2**63 - 1,
            available=-(2**63),
            owed=2**63 - 1,
            valid_until=dt.date(2099, 12, 31),
            authorization="311000000017",
            original="311000000025",
            cashier=2**32 - 1,
            till_receipt="ABCDEFGHIJKLMNOP",
            visits_left=2**63 - 1,
            due_on=dt.date(2099, 12, 31),
            held_until=dt.datetime(2099, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
            new_card="12345678901234560042",
            limit=2**63 - 1,
            interval=(2**32 - 2, 2**32 - 1),
            frozen_from=dt.date(2099, 12, 30),
            frozen_until=dt.date(2099, 12, 31),
            totals=tuple(Counted(kind.name.lower(), 2**32 - 1, 2**63 - 1, 2**32 - 2, 2**63 - 2) for kind in TotalsKind),
        ),
        1,
    ),
}

# Receipts that are read in the other languages too, on the narrowest and the widest paper; language, code page.
TRANSLATED = ("longest", "shortest", "sale_declined", "hold", "visit", "credit_sale", "totals_differ")
LANGUAGES = {"lv": 1, "et": 2, "ru": 5}
MERCHANTS = {
    "en": "*** MERCHANT COPY ***",
    "lv": "*** TIRGOTĀJA EKSEMPLĀRS ***",
    "et": "*** KAUPMEHE EKSEMPLAR ***",
    "ru": "*** ЭКЗЕМПЛЯР МАГАЗИНА ***",
}
SIGNATURES = {
    "en": "Customer's signature",
    "lv": "Klienta paraksts",
    "et": "Kliendi allkiri",
    "ru": "Подпись клиента",
}
TRANSLATED_WIDTHS = (32, 48)
MERCHANT_COPY = "merchant_copy"

ALL_DRAWN = [
    *((name, "en", columns) for name in (*RECEIPTS, MERCHANT_COPY) for columns in WIDTHS),
    *(
        (name, language, columns)
        for name in (*TRANSLATED, MERCHANT_COPY)
        for language in LANGUAGES
        for columns in TRANSLATED_WIDTHS
    ),
]


def drawn(name: str, language: str, columns: int) -> str:
    """Print a receipt, or the merchant's copy of the sale, as a file keeps it."""
    if name == MERCHANT_COPY:
        return signed(language, columns)
    facts, code_page = RECEIPTS[name]
    return "\n".join(render(facts, language, columns, LANGUAGES.get(language, code_page))) + "\n"


def kept(name: str, language: str, columns: int) -> Path:
    """Give the file that keeps a receipt."""
    return GOLDEN / (f"{name}.{columns}.txt" if language == "en" else f"{name}.{language}.{columns}.txt")


def signed(language: str, columns: int) -> str:
    """Print the merchant's copy of a sale, as a file keeps it."""
    code_page = LANGUAGES.get(language, 0)
    text = encode(render(SALE, language, columns, code_page), code_page)
    return merchant_copy(text, language, columns, code_page).decode(CODECS[code_page])


@pytest.mark.parametrize(("name", "language", "columns"), ALL_DRAWN)
def test_receipts_look_as_a_person_has_read_them(name: str, language: str, columns: int) -> None:
    """Line by line, on each width of paper."""
    assert drawn(name, language, columns) == kept(name, language, columns).read_text("utf-8")


def test_no_golden_file_is_left_over() -> None:
    """Each belongs to a receipt above."""
    assert set(GOLDEN.iterdir()) == {kept(*each) for each in ALL_DRAWN}


def test_a_rule_stands_between_lines_only() -> None:
    """Where a whole block has nothing to say, its rule goes with it."""
    for name in RECEIPTS:
        lines = drawn(name, "en", 32).splitlines()
        rules = [place for place, line in enumerate(lines) if line == "-" * 32]
        assert 0 not in rules
        assert len(lines) - 1 not in rules
        assert all(after - before > 1 for before, after in pairwise(rules))


def test_a_value_never_touches_its_label() -> None:
    """The label "Programme" has nine letters: 22 fit beside it on 32 columns, 23 would leave no blank."""
    assert "Programme " + 22 * "x" in render(sale(programme=22 * "x"), columns=32)
    lines = render(sale(programme=23 * "x"), columns=32)
    assert lines[lines.index("Programme") + 1] == 9 * " " + 23 * "x"


@pytest.mark.parametrize("name", ["sale", "tries_exceeded", "reversal"])
def test_a_reprint_is_the_receipt_of_then_below_the_copy_mark(name: str) -> None:
    """Approvals, declines and reversals alike; nothing of what was printed is written anew."""
    facts, code_page = RECEIPTS[name]
    text = encode(render(facts, "en", 32, code_page), code_page)
    assert copied(text, "en", 32, code_page) == b"          *** COPY ***\n" + text


@pytest.mark.parametrize("language", languages())
@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("code_page", CODECS)
def test_the_merchants_copy_is_the_receipt_between_its_mark_and_a_line_to_sign_on(
    language: str, columns: int, code_page: int
) -> None:
    """On all paper: nothing of the receipt is written anew, no line is too wide, and one is as wide as the paper."""
    text = encode(render(SALE, language, columns, code_page), code_page)
    above, below = merchant_copy(text, language, columns, code_page).split(text)
    marked, line = (part.decode(CODECS[code_page]).split("\n") for part in (above, below))
    assert [each.strip() for each in marked] == [transliterate(MERCHANTS[language], code_page), ""]
    assert line[:3] == ["", "", "_" * columns]
    assert [each.strip() for each in line[3:]] == [transliterate(SIGNATURES[language], code_page), ""]
    assert all(len(each) <= columns for each in marked + line)


def test_a_copy_of_the_merchants_copy_says_both() -> None:
    """One mark above the other, and one line to sign on."""
    text = encode(render(SALE, "en", 32), 0)
    both = merchant_copy(copied(text, "en", 32, 0), "en", 32, 0).decode().splitlines()
    assert both[:2] == ["     *** MERCHANT COPY ***", "          *** COPY ***"]
    assert both.count("_" * 32) == 1


def test_an_unknown_width_says_which_are_known() -> None:
    """The paper is chosen from a closed set."""
    with pytest.raises(ValueError, match="no receipt is 40 columns wide; known are 32, 42, 44, 48"):
        render(SALE, columns=40)


def test_a_result_and_a_command_that_are_not_known_yet_print_all_the_same() -> None:
    """An odd word is better than no receipt."""
    lines = render(sale(result=77, reason=7777, command="gift_wrap"))
    assert "gift wrap" in {line.strip() for line in lines}
    assert "DECLINED" in {line.strip() for line in lines}
    assert any(line.endswith(" 77-7777") for line in lines)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason])
def test_every_result_with_its_reason_tells_the_clerk(reason: Reason) -> None:
    """Whole, on the narrowest paper, right below how it ended."""
    lines = render(sale(result=reason.result, reason=reason), "en", 32)
    rules = [place for place, line in enumerate(lines) if line == "-" * 32]
    told = " ".join(lines[rules[1] + 3 : rules[2]])
    assert told == catalogue("en").text("reason", str(reason.value))


amounts = st.none() | st.integers(-(2**63), 2**63 - 1)
texts = st.text(max_size=90)
all_facts = st.builds(
    ReceiptFacts,
    merchant=texts,
    branch=texts,
    module=st.integers(0, 2**32 - 1),
    date=st.dates(),
    time=st.times(),
    command=texts,
    result=st.integers(0, 99),
    reason=st.sampled_from([0, 1, 2, 1201, 5101, 9102, 9999]),
    currency=st.sampled_from(["EUR", "USD", "JPY"]),
    exponent=st.sampled_from([0, 2, 3]),
    programme=texts,
    card=st.text("0123456789", max_size=20),
    keyed=st.booleans(),
    requested=amounts,
    approved=amounts,
    still_due=amounts,
    balance=amounts,
    available=amounts,
    owed=amounts,
    valid_until=st.none() | st.dates(),
    authorization=texts,
    original=st.none() | texts,
    cashier=st.integers(0, 2**32 - 1),
    till_receipt=texts,
)
papers = st.tuples(st.sampled_from(WIDTHS), st.sampled_from(sorted(CODECS)))


@given(facts=all_facts, paper=papers)
@settings(max_examples=200, deadline=None)  # how long one takes is the machine's matter
def test_whatever_comes_in_the_receipt_fits_the_paper(facts: ReceiptFacts, paper: tuple[int, int]) -> None:
    """No line is too wide or empty, each sign is one byte of the code page, and pages hold whole lines."""
    columns, code_page = paper
    lines = render(facts, "en", columns, code_page)
    assert all(0 < len(line) <= columns for line in lines)
    encoded = encode(lines, code_page)
    assert len(encoded) == sum(len(line) + 1 for line in lines)
    assert encoded.decode(CODECS[code_page]) == "".join(line + "\n" for line in lines)
    assert b"".join(paginate(encoded)) == encoded


@given(minor=st.integers(-(2**63), 2**63 - 1), paper=papers)
def test_no_amount_is_ever_cut(minor: int, paper: tuple[int, int]) -> None:
    """The digits of each amount stand together at the end of a line, with a blank or the edge before them."""
    columns, code_page = paper
    facts = sale(result=10, requested=minor, approved=minor, still_due=minor, balance=minor, available=1, owed=minor)
    amount = f"{'-' if minor < 0 else ''}{abs(minor) // 100:,}.{abs(minor) % 100:02} EUR"
    ends = [line for line in render(facts, "en", columns, code_page) if line.endswith(amount)]
    assert len(ends) >= (4 if minor == 0 else 5)
    assert all(line.removesuffix(amount)[-1:] in ("", " ") for line in ends)


@pytest.mark.parametrize("currency", ["EUR", ""])
@given(minor=st.integers(-(2**63), 2**63 - 1), language=st.sampled_from(languages()), paper=papers)
@settings(deadline=None)  # how long the first of a form takes is the machine's matter
def test_no_amount_of_any_language_is_cut_in_totals_either(
    currency: str, minor: int, language: str, paper: tuple[int, int]
) -> None:
    """Groups of digits that blanks divide stay together, and with the letters of their currency."""
    columns, code_page = paper
    facts = of_totals(
        currency=currency, exponent=2, result=95, reason=9501, totals=(Counted("sale", 2**32 - 1, minor, 0, minor),)
    )
    ((_, _, amount), _) = Wording(catalogue(language), code_page).totals(facts)
    ends = [line for line in render(facts, language, columns, code_page) if line.endswith(amount)]
    assert len(ends) == 2
    assert all(line.removesuffix(amount)[-1:] in ("", " ") for line in ends)


@given(card=st.text("0123456789", min_size=5, max_size=20), result=st.sampled_from([0, 10, 51, 91]))
def test_only_the_last_four_digits_of_a_card_are_printed(card: str, result: int) -> None:
    """On every kind of receipt; the rest are stars."""
    facts = sale(result=result, card=card)
    (line,) = (line for line in render(facts) if line.startswith("Card "))
    assert line.split() == ["Card", "*" * (len(card) - 4) + card[-4:]]


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for each in ALL_DRAWN:
        kept(*each).write_text(drawn(*each), "utf-8")
