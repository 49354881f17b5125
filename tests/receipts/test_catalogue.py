"""Catalogues: the words of a language, whole, and found by everything that a receipt may have to say."""

import io
import tomllib
from importlib.resources import files

import pytest

from protocol.numbers import Command, Reason, Result
from receipts.catalogue import catalogue, languages, read_catalogue
from receipts.template import Outcome

EN = catalogue("en")

LATVIAN = b"""
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"

msgctxt "label"
msgid "balance"
msgstr "Atlikums"

#, fuzzy
msgctxt "label"
msgid "card"
msgstr "Karte?"

msgctxt "label"
msgid "module"
msgstr ""
"""


def named(context: str) -> set[str]:
    """Give the names of all English texts of a context."""
    return {name for where, name in EN.texts if where == context}


def test_english_is_there() -> None:
    """The language that all others fall back to."""
    assert "en" in languages()


def test_an_unknown_language_says_which_are_known() -> None:
    """A path is no language either."""
    for language in ("xx", "../en", ""):
        with pytest.raises(ValueError, match=r"there are no receipt texts in .*; there are: en"):
            catalogue(language)


def test_every_reason_of_the_wire_has_a_text_for_the_clerk_and_no_other() -> None:
    """All but the one that says nothing; no text for a number that does not exist."""
    assert named("reason") == {str(reason.value) for reason in Reason} - {"0"}


def test_every_result_that_is_not_an_approval_has_a_text_for_the_clerk() -> None:
    """So that a decline explains itself even with a reason that these texts do not know yet."""
    assert named("result") == {f"{result:02}" for result in Result} - {"00", "10"}


def test_every_command_of_the_wire_has_a_head() -> None:
    """Declined commands are printed too, also those that are not served yet."""
    assert named("command") == {command.name.lower() for command in Command}


def test_every_outcome_has_a_head() -> None:
    """Whether it went through stands on every receipt."""
    assert named("outcome") == set(Outcome)


def test_every_label_of_the_template_has_a_text_and_no_label_is_left_over() -> None:
    """Texts that nothing prints would be translated in vain."""
    lines = tomllib.loads(files("receipts").joinpath("template.toml").read_text("utf-8"))["lines"]
    assert named("label") == {look["label"] for look in lines.values() if "label" in look}


@pytest.mark.parametrize("context", ["reason", "result"])
def test_what_a_clerk_is_told_is_a_whole_sentence(context: str) -> None:
    """It begins with a capital and ends with a stop."""
    for name in named(context):
        text = EN.text(context, name)
        assert text[0].isupper()
        assert text.endswith(".")


def test_what_a_language_lacks_is_english() -> None:
    """Not translated and not surely translated are both taken from English."""
    latvian = read_catalogue(io.BytesIO(LATVIAN), "lv")
    assert latvian.text("label", "balance") == "Atlikums"
    assert latvian.text("label", "card") == "Card"
    assert latvian.text("label", "module") == "Module"


def test_what_english_lacks_is_named() -> None:
    """A command that is newer than the texts still has a head."""
    assert EN.text("command", "cash_back") == "cash back"
    assert EN.find("reason", "9999") == ""
