"""The kit file: what it holds, and whose it is."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

from authsrv.shell.kit import KitCard, new_kit
from authsrv.shell.settings import Address
from protocol.numbers import Suite
from protocol.signon import ModuleIdentity

if TYPE_CHECKING:
    from pathlib import Path

TILL = ModuleIdentity(1001, 1, Suite.SHARED_KEY_X25519, bytes(range(32)), 7, bytes(range(16)))


def test_it_holds_what_tills_and_modules_must_know(tmp_path: Path) -> None:
    """One JSON object, whether the cards came at once or one after the other; 0600."""
    path = tmp_path / "kit.json"
    with new_kit(path) as kit:
        kit.begin(Address("127.0.0.1", 7411), 978, 2, [(TILL, 3)], "lv")
        kit.cards([KitCard("6371120000000000017", "1234", "gift")])
        kit.cards([KitCard("6371120000000000025", None, "gift")])
        kit.end()
        assert path.read_text().endswith("]}\n")  # whole before anything can be committed
    assert json.loads(path.read_text()) == {
        "host": "127.0.0.1",
        "port": 7411,
        "currency": 978,
        "exponent": 2,
        "modules": [
            {
                "module": 1001,
                "branch": 3,
                "language": "lv",
                "generation": 1,
                "suite": 2,
                "root_key": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                "group": 7,
                "group_key": "000102030405060708090a0b0c0d0e0f",
            }
        ],
        "cards": [
            {"number": "6371120000000000017", "access_code": "1234", "programme": "gift"},
            {"number": "6371120000000000025", "access_code": None, "programme": "gift"},
        ],
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_card_shows_itself_to_nobody() -> None:
    """Neither number nor code is in its repr."""
    assert repr(KitCard("6371120000000000017", "1234", "gift")) == "<KitCard>"
