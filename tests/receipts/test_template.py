"""The template: which lines stand on which receipt."""

import pytest

from receipts.template import Line, Outcome, Style, parse_template, template

TEXT = """
[outcomes]
approved = [0]
[receipts]
approved = ["a", "r"]
partly = []
declined = ["a"]
differ = []
open = []
[lines]
a = { style = "pair", label = "card", value = "card" }
r = { style = "rule" }
"""


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (0, Outcome.APPROVED),
        (10, Outcome.PARTLY),
        (51, Outcome.DECLINED),
        (94, Outcome.DECLINED),
        (99, Outcome.DECLINED),
        (91, Outcome.OPEN),
        (96, Outcome.OPEN),
        (95, Outcome.DIFFER),
    ],
)
def test_a_result_makes_its_kind_of_receipt(result: int, outcome: Outcome) -> None:
    """Only 00 and 10 approve; 91 and 96 decide nothing; 95 compares; all others, known or not, decline."""
    assert template().outcome(result) is outcome


def test_a_template_reads_as_it_says() -> None:
    """Lines by name, in the order of each receipt."""
    card, rule = Line(Style.PAIR, "card", "card"), Line(Style.RULE)
    assert parse_template(TEXT).receipts == {
        Outcome.APPROVED: (card, rule),
        Outcome.PARTLY: (),
        Outcome.DECLINED: (card,),
        Outcome.DIFFER: (),
        Outcome.OPEN: (),
    }


def test_a_template_that_names_what_does_not_exist_is_refused() -> None:
    """A style, a line, an outcome."""
    with pytest.raises(ValueError, match="bold"):
        parse_template(TEXT.replace('"rule"', '"bold"'))
    with pytest.raises(KeyError, match="x"):
        parse_template(TEXT.replace('["a"]', '["x"]'))
    with pytest.raises(ValueError, match="maybe"):
        parse_template(TEXT.replace("approved = [0]", "maybe = [0]"))


def test_every_receipt_names_what_every_receipt_must() -> None:
    """Who, where, when, what, and how it ended."""
    for outcome, lines in template().receipts.items():
        values = {line.value for line in lines}
        assert {"merchant", "branch", "module", "moment", "command", "programme", "outcome", "note"} <= values
        assert {"card", "requested", "original"} <= values
        if outcome in (Outcome.APPROVED, Outcome.PARTLY):
            assert {"approved", "authorization", "balance", "owed"} <= values
    assert "still_due" in {line.value for line in template().receipts[Outcome.PARTLY]}
