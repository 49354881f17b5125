"""Programmes as they are written: what is right becomes a value, what is wrong is told, all of it."""

import datetime as dt
from collections.abc import Iterable
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from loyalty.programme import AccessCode, Kind, Programme
from loyalty.source import ProgrammeError, load_programme, parse_programme, programme_document, schema

EXAMPLES = {kind: files("loyalty").joinpath("programmes", f"{kind}.toml").read_text("utf-8") for kind in Kind}
EXAMPLE = EXAMPLES[Kind.GIFT]

GIFT = {
    "name": "gift",
    "version": 1,
    "title": "Gift card",
    "kind": "gift",
    "effective_from": "2025-01-01",
    "access_code": "optional",
    "currency": "EUR",
    "partial": True,
    "reloadable": True,
    "refundable": True,
    "load_minimum_minor": 500,
    "load_maximum_minor": 50_000,
    "balance_maximum_minor": 100_000,
    "loads_per_day": 5,
}


def mistakes(changed: dict[str, object], without: Iterable[str] = ()) -> list[str]:
    """Say what is wrong with the gift programme after a change."""
    with pytest.raises(ProgrammeError) as caught:
        load_programme({key: value for key, value in (GIFT | changed).items() if key not in without}, "test")
    return [mistake.text for mistake in caught.value.mistakes]


def test_the_example_reads_as_it_says() -> None:
    """The file that ships with the package is the programme that its comments describe."""
    assert parse_programme(EXAMPLE, "gift.toml") == Programme(
        name="gift",
        version=1,
        title="Gift card",
        kind=Kind.GIFT,
        effective_from=dt.date(2025, 1, 1),
        access_code=AccessCode.OPTIONAL,
        valid_months=36,
        currency="EUR",
        partial=True,
        reloadable=True,
        refundable=True,
        load_minimum_minor=500,
        load_maximum_minor=50_000,
        balance_maximum_minor=100_000,
        loads_per_day=5,
        hold_minutes=60,
        cash_out=True,
    )


def test_the_examples_mention_every_property() -> None:
    """Who copies the file finds each optional rule in it, as a comment."""
    for key, about in schema()["properties"].items():
        for kind in about.get("kinds", Kind):
            assert key in EXAMPLES[kind], (kind, key)


def test_the_schema_is_a_schema_and_describes_every_property() -> None:
    """Who reads only the schema can write a programme."""
    Draft202012Validator.check_schema(schema())
    assert all(about.get("description") for about in schema()["properties"].values())


def test_schema_and_value_name_the_same_properties() -> None:
    """One property, one field, one name."""
    assert set(schema()["properties"]) == set(Programme.__dataclass_fields__)


def test_every_mistake_is_told_at_once_with_its_line() -> None:
    """Four mistakes on three lines and one that stands on none."""
    text = EXAMPLE.replace("version = 1", "version = 0").replace("partial = true ", "partial = 1 ")
    text = text.replace("refundable", "refundabel").replace('"EUR"', '"EUX"')
    with pytest.raises(ProgrammeError) as caught:
        parse_programme(text, "gift.toml")
    told = str(caught.value).splitlines()
    assert told[0] == "gift.toml is not a programme:"
    for line, start in (
        (told[1], "refundable is missing; write it: whether the money"),
        (told[2], f"line {_line(text, 'version =')}: version cannot be 0; write 1 or more: counts up"),
        (told[3], f'line {_line(text, "currency =")}: currency "EUX" is not in ISO 4217'),
        (told[4], f"line {_line(text, 'partial =')}: partial cannot be 1; write true or false: whether"),
        (told[5], f"line {_line(text, 'refundabel =')}: refundabel is not known; did you mean refundable?"),
    ):
        assert line.strip().startswith(start)
    assert len(told) == 6


def _line(text: str, start: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(start))


def test_what_is_not_toml_is_told_with_its_line() -> None:
    """A slip of the pen in the second line, and a text that ends too early."""
    for text in ('name = "gift"\nversion = = 1\n', 'name = "gift"\nversion ='):
        with pytest.raises(ProgrammeError) as caught:
            parse_programme(text, "gift.toml")
        assert [mistake.line for mistake in caught.value.mistakes] == [2]
        assert caught.value.mistakes[0].text.startswith("this is not TOML: ")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"name": "Gift"}, 'name cannot be "Gift"'),
        ({"title": ""}, 'title cannot be ""'),
        ({"title": "x" * 49}, "title cannot be"),
        ({"kind": "points"}, 'kind cannot be "points"; write "gift" or "visits" or "credit"'),
        ({"visits": 10}, 'visits is not for cards of the kind "gift", only for visits; leave it out'),
        ({"effective_from": "2025-02-30"}, 'effective_from cannot be "2025-02-30"'),
        ({"effective_from": "20250101"}, 'effective_from cannot be "20250101"'),
        ({"effective_from": dt.datetime(2025, 1, 1)}, "effective_from cannot be"),  # noqa: DTZ001 - a mistake
        ({"effective_until": "2024-12-31"}, "effective_until is 2024-12-31, but effective_from is 2025-01-01"),
        ({"access_code": "sometimes"}, 'write "required" or "optional" or "none"'),
        ({"branches": []}, "branches cannot be []; write at least one"),
        ({"branches": [1, 1]}, "branches cannot be [1, 1]; write each once"),
        ({"branches": [0]}, "branches cannot be 0; write 1 or more"),
        ({"load_minimum_minor": 5.0}, "load_minimum_minor cannot be 5.0; write a whole number"),
        ({"load_minimum_minor": True}, "load_minimum_minor cannot be true; write a whole number"),
        ({"load_minimum_minor": "5.00"}, 'load_minimum_minor cannot be "5.00"; write a whole number'),
        ({"load_minimum_minor": -1}, "load_minimum_minor cannot be -1; write 0 or more"),
        ({"load_maximum_minor": 499}, "load_maximum_minor is 499, but load_minimum_minor is 500"),
        ({"balance_maximum_minor": 499}, "balance_maximum_minor is 499, but load_minimum_minor is 500"),
        ({"balance_maximum_minor": 2**63}, "write 9223372036854775807 or less"),
        ({"valid_days": 1, "valid_months": 1}, "valid_days and valid_months exclude each other"),
        ({"currency": "eur"}, 'currency cannot be "eur"'),
        ({"currency": "EUX"}, 'currency "EUX" is not in ISO 4217'),
        ({"colour": "red"}, "colour is not known; leave it out"),
        ({"limits": {"load": dt.date(2025, 1, 1)}}, "limits is not known"),
    ],
)
def test_each_mistake_is_told_with_what_to_do(changed: dict[str, object], told: str) -> None:
    """One change, one mistake, in words that lead to the right value."""
    (only,) = mistakes(changed)
    assert told in only


@pytest.mark.parametrize("key", sorted(GIFT))
def test_each_property_without_which_nobody_could_decide_is_asked_for(key: str) -> None:
    """No rule of money has a hidden default."""
    texts = mistakes({}, without=[key])
    assert any(text.startswith(f"{key} is missing") for text in texts)


def test_bounds_themselves_are_allowed() -> None:
    """A programme of one day, of one load size."""
    made = load_programme(
        GIFT | {"effective_until": "2025-01-01", "load_maximum_minor": 500, "balance_maximum_minor": 500}, "test"
    )
    assert made.effective_from == made.effective_until
    assert made.load_minimum_minor == made.load_maximum_minor == made.balance_maximum_minor


days = st.dates(dt.date(2000, 1, 1), dt.date(2100, 1, 1))
optional = st.fixed_dictionaries(
    {},
    optional={
        "effective_until": st.dates(dt.date(2025, 1, 1), dt.date(2100, 1, 1)).map(dt.date.isoformat),
        "branches": st.lists(st.integers(1, 2**32 - 1), min_size=1, unique=True),
        "sale_maximum_minor": st.integers(1, 2**63 - 1),
        "valid_days": st.integers(1, 36500),
        "access_code": st.sampled_from(["required", "optional", "none"]),
    },
)


@given(changed=optional)
def test_what_the_database_keeps_makes_the_same_programme(changed: dict[str, object]) -> None:
    """Through a dict of JSON values and back; what was given is what is kept."""
    programme = load_programme(GIFT | changed, "test")
    assert programme_document(programme) == GIFT | changed
    assert load_programme(programme_document(programme), "database") == programme
