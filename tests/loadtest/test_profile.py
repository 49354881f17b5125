"""Profiles are data, and wrong data is refused."""

import pytest

from loadtest.profile import Act, Load, ProfileError, load_profile, names, parse_profile

WHOLE = """
name = "small"
load = "closed"
connections = 3
modules_per_connection = 5
cards = 7
[mix]
sale = 1
"""


def test_every_profile_that_comes_along_can_be_read() -> None:
    """The six of the requirement are there, under the names of their files."""
    assert names() == ["concentrator", "evening", "hot-card", "mixed", "storm", "terminals"]
    assert [load_profile(name).name for name in names()] == names()


def test_terminals_and_concentrator_are_what_the_requirement_says() -> None:
    """256 connections with one in flight; sixteen connections of sixteen modules, 256 in flight in all."""
    terminals, concentrator = load_profile("terminals"), load_profile("concentrator")
    assert (terminals.connections, terminals.modules) == (256, 256)
    assert (concentrator.connections, concentrator.modules_per_connection, concentrator.modules) == (16, 16, 256)
    assert load_profile("hot-card").cards == 1
    assert load_profile("storm").storm_modules == 2000
    assert load_profile("evening").load is Load.OPEN
    assert set(load_profile("mixed").mix) == set(Act)


def test_a_rate_makes_a_closed_load_open() -> None:
    """At a rate, customers set the pace."""
    profile = parse_profile(WHOLE)
    assert (profile.load, profile.modules) == (Load.CLOSED, 15)
    changed = profile.changed(duration_s=4, rate_per_s=100)
    assert (changed.load, changed.rate_per_s, changed.duration_s) == (Load.OPEN, 100, 4)
    assert profile.changed() == profile


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ("cards = 7", "cards = 0"),
        ("cards = 7", "cards = 7\ncolour = 1"),
        ('load = "closed"', 'load = "ajar"'),
        ('load = "closed"', 'load = "open"'),  # without a rate
        ("sale = 1", "sale = 0"),
        ("sale = 1", "sale = -1\nbalance = 2"),
        ("sale = 1", "theft = 1"),
        ("connections = 3\n", ""),
    ],
)
def test_a_wrong_profile_is_refused(said: str, instead: str) -> None:
    """What cannot be run is said before anything is started."""
    with pytest.raises(ProfileError):
        parse_profile(WHOLE.replace(said, instead))


def test_an_unknown_name_is_answered_with_those_that_there_are() -> None:
    """The message helps to find the right one."""
    with pytest.raises(ProfileError, match="terminals"):
        load_profile("terminal")
