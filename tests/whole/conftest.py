"""Several real switch processes before one real database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from shop import KEK
from whole.shopfront import open_shopfront
from whole.switches import running_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from whole.shopfront import Shopfront
    from whole.switches import Switches


@pytest.fixture(scope="session")
def switches() -> Iterator[Switches]:
    """The program that forks switches, started once."""
    with running_program() as program:
        yield program


@pytest.fixture
def shopfront(issuer: Any) -> Iterator[Shopfront]:
    """A furnished shop without a switch."""
    front = open_shopfront(issuer.owner_dsn, issuer.switch_dsn, issuer.schema)
    yield front
    front.hang_up()
    for process in front.processes:
        process.kill()
    front.books.close()


@pytest.fixture
def two_switches(shopfront: Shopfront, switches: Switches) -> Shopfront:
    """The shop with two processes before it, on hosts whose clocks are ten days apart."""
    for days in (-3, 7):
        fault = {"by_s": days * 86_400}
        shopfront.processes.append(switches.start(shopfront.switch_dsn, shopfront.schema, KEK, clock_is_off=fault))
    return shopfront
