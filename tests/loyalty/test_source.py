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
    """Four mistakes on four lines, and what is missing at the kind that asks for it."""
    text = EXAMPLE.replace("version = 1", "version = 0").replace("partial = true ", "partial = 1 ")
    text = text.replace("refundable", "refundabel").replace('"EUR"', '"EUX"')
    with pytest.raises(ProgrammeError) as caught:
        parse_programme(text, "gift.toml")
    told = str(caught.value).splitlines()
    assert told[0] == "gift.toml is not a programme:"
    for line, start in (
        (told[1], f"line {_line(text, 'version =')}: version cannot be 0; write 1 or more: counts up"),
        (told[2], f"line {_line(text, 'kind =')}: refundable is missing; write it: whether the money"),
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


def told_of(text: str) -> list[tuple[int, str]]:
    """The mistakes of a text, each with its line."""
    with pytest.raises(ProgrammeError) as caught:
        parse_programme(text, "gift.toml")
    return [(mistake.line, mistake.text) for mistake in caught.value.mistakes]


LAST = len(EXAMPLE.splitlines())
LONG = "9" * 5000


@pytest.mark.parametrize(
    ("text", "line", "start"),
    [
        (EXAMPLE + "version = 2\n", LAST + 1, "version is written twice, on line 6 already; leave one of them out"),
        (EXAMPLE + "branches = [1]\nbranches = [\n1,\n2\n]\n", LAST + 2, "branches is written twice, on line"),
        (EXAMPLE + "x.y = 1\nx = 2\n", LAST + 2, "this is not TOML: Cannot overwrite a value"),
        (EXAMPLE + "\n[x]\n\n[x]\n", LAST + 4, "this is not TOML: Cannot declare"),
        (EXAMPLE + "branches = [1,\n2\n\n", LAST + 1, "this is not TOML: Unclosed array"),
        (EXAMPLE + 'title = """\nmuch\n', LAST + 1, "this is not TOML: Unterminated string"),
        (EXAMPLE + 'title = "much\n\n', LAST + 1, "this is not TOML: Illegal character"),
        (EXAMPLE + "effective_until = 2025-13-01\n", LAST + 1, "this is not TOML: "),
        ("\ufeff" + EXAMPLE, 1, "the text begins with a byte order mark; save it as UTF-8 without one"),
        (EXAMPLE + f"branches = [1]\nsale_maximum_minor = {LONG}\n", LAST + 2, "this number is too long"),
    ],
)
def test_what_is_not_toml_is_told_where_the_eye_has_to_look(text: str, line: int, start: str) -> None:
    """A key that is written twice at the second one, what is open to the end where it begins."""
    [(found, told)] = told_of(text)
    assert found == line
    assert told.startswith(start)


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ('[1, "two", 3]', [0]),
        ('[\n  1,  # the first, not the last]\n  "two",\n\n  3, 4.0,\n]', [2, 4]),
        ("[\n  [2],\n  { a = 1, b = [1, 2] },\n  1979-05-27,\n  true]", [1, 2, 3, 4]),
        ('[1, \'it, [\', "[,\\"", \n """"\n,\n""""\n, -1]', [0, 0, 1, 4]),
    ],
)
def test_what_is_wrong_in_a_list_is_told_at_its_own_line(value: str, lines: list[int]) -> None:
    """Whatever stands before it in the list: comments, brackets, texts of several lines."""
    *told, last = told_of(f"{EXAMPLE}branches = {value}\nsale_maximum_minor = 0\n")
    assert [line for line, _ in told] == [LAST + 1 + line for line in lines]
    assert all(text.startswith("branches cannot be ") for _, text in told)
    assert last[0] == LAST + 2 + value.count("\n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {1}),
        (EXAMPLE.replace('kind = "gift"', ""), {1}),
        (EXAMPLE.replace("version = 1", "") + "\n[version]\nversion = 0\n", {LAST + 2}),
        (EXAMPLE.replace("version = 1", "") + "\n[more]\nversion = 2\n", {8, LAST + 2}),
        (EXAMPLE.replace("version = 1", "# version = 2"), {8}),
        (EXAMPLE.replace("version = 1", '"vers\\u0069on" = 0'), {6}),
        (EXAMPLE.replace("version = 1", "version.major = 1"), {6}),
        (EXAMPLE.replace("version = 1", "version = 0").replace("\n", "\r\n"), {6}),
        (EXAMPLE.replace("Gift card", "Gift\u2028\u0085card").replace("per_day = 5", "per_day = 0"), {24}),
        (EXAMPLE.replace('"Gift card"', '"""\nversion = 9"""').replace("version = 1", ""), {9}),
        (EXAMPLE + '"a\\nb" = 1\n', {LAST + 1}),
        (EXAMPLE + "[[branches]]\nnumber = 1\n", {LAST + 1}),
    ],
)
def test_each_mistake_stands_on_the_line_of_its_key(text: str, found: set[int]) -> None:
    """Not of what only looks like it, in a comment, a text or a table; what is missing at the kind, else at the top."""
    told = told_of(text)
    assert {line for line, _ in told} == found
    assert not any("\n" in text for _, text in told)


@pytest.mark.parametrize(
    "more",
    [
        "branches = " + "[" * 100_000,
        "branches = " + "[" * 300 + "]" * 300,
        "branches = " + "[" * 5_000 + "]" * 5_000,
        "branches = " + "{a=" * 5_000 + "1" + "}" * 5_000,
        "branches" + ".a" * 3_000 + " = 1",
        "[branches" + ".a" * 3_000 + "]",
    ],
    ids=["open", "closed", "deep", "tables", "dotted", "headed"],
)
def test_what_is_nested_without_end_is_told_and_no_fault(more: str) -> None:
    """However many brackets there are."""
    [(line, told)] = told_of(f"{EXAMPLE}{more}\n")
    assert line == LAST + 1
    assert "more lists and tables stand in one another than any programme has; leave them out" in told


def test_a_long_value_is_told_in_short() -> None:
    """A number of any length, and a text that would hide what is said of it."""
    for value in ("0x" + "f" * 5000, f"[1, 0x{'f' * 5000}]"):
        assert told_of(f"{EXAMPLE}branches = {value}\n") == [(LAST + 1, "branches: this number is too long")]
    [(line, told)] = told_of(EXAMPLE.replace("Gift card", "G" * 10_000))
    assert line == 7
    assert told.startswith('title cannot be "GGG')
    assert "...; write 48 signs or fewer: what holders" in told
    assert len(told) < 250


def test_what_comes_from_the_database_has_no_lines() -> None:
    """There is no text to look at."""
    with pytest.raises(ProgrammeError, match=r"\n  version cannot be 0; write 1 or more"):
        load_programme(GIFT | {"version": 0}, "the database")


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
