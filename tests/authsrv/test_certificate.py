"""Which modules a client certificate may carry."""

from __future__ import annotations

import pytest

from authsrv.certificate import carried_modules


def listing(*names: tuple[str, str]) -> dict[str, object]:
    """A certificate as `ssl` shows it."""
    return {"subject": ((("commonName", "authsrv:module:1"),),), "subjectAltName": names}


def test_single_modules_and_ranges() -> None:
    """A module and a range with both its ends are carried; their neighbours are not."""
    carried = carried_modules(listing(("URI", "authsrv:module:7"), ("URI", "authsrv:modules:1001-1016")))
    assert [module for module in (6, 7, 8, 1000, 1001, 1009, 1016, 1017) if module in carried] == [7, 1001, 1009, 1016]


@pytest.mark.parametrize(
    "name",
    [
        ("DNS", "authsrv:module:7"),  # not a URI
        ("URI", "authsrv:module:7 "),
        ("URI", "xauthsrv:module:7"),
        ("URI", "authsrv:module:-7"),
        ("URI", "authsrv:module:"),
        ("URI", "authsrv:module:7/8"),
        ("URI", "authsrv:modules:8-6"),  # an empty range
        ("URI", "https://authsrv/module/7"),
    ],
)
def test_what_lists_no_module_carries_none(name: tuple[str, str]) -> None:
    """Other kinds of names, other URIs and a range that runs backwards carry nothing."""
    carried = carried_modules(listing(name))
    assert not [module for module in range(20) if module in carried]


def test_a_certificate_without_names_carries_none() -> None:
    """The subject's own name does not count, and without alternative names there is nothing."""
    assert 1 not in carried_modules(listing())
    assert 1 not in carried_modules({})
