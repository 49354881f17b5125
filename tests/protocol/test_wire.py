"""The known answers of the wire come out bit for bit, from both ends, in both suites."""

from typing import Any

import pytest

from protocol import access_code, module, signon
from protocol.crypto import BlockCipher
from protocol.module import ModuleConnection
from protocol.numbers import Suite
from protocol.signon import ModuleIdentity, RootKey, Terms
from protocol.switch import Limits, ModuleRecord, RequestReceived, SessionLive, SwitchConnection

pytestmark = pytest.mark.parametrize("suite", Suite, ids=lambda suite: f"suite {suite.value}")


def given(wire: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(wire["given"][name])


def expected(wire: dict[str, Any], suite: Suite, name: str) -> bytes:
    return bytes.fromhex(wire["suites"][str(suite.value)][name])


def the_module(wire: dict[str, Any], suite: Suite) -> ModuleIdentity:
    numbers = wire["given"]
    root_key, group_key = given(wire, "root_key"), given(wire, "group_key")
    return ModuleIdentity(numbers["module"], numbers["generation"], suite, root_key, numbers["group"], group_key)


class TheDirectory:
    """Knows the module of the known answers alone."""

    def __init__(self, known: ModuleIdentity):
        self._known = known

    def group_keys(self, group: int) -> tuple[bytes, ...]:
        return (self._known.group_key,) if group == self._known.group else ()

    def module(self, number: int) -> ModuleRecord | None:
        known = self._known
        return ModuleRecord(number, known.group, {known.generation: known.root}) if number == known.module else None

    def may_open(self, module: int) -> bool:
        return module == self._known.module

    def last_name(self, module: int) -> tuple[int, int]:
        assert module == self._known.module
        return 20261121, 41


def test_connection(wire: dict[str, Any], suite: Suite) -> None:
    """A whole connection between the two ends writes the known frames and reads them."""
    known = the_module(wire, suite)
    private = suite is Suite.SHARED_KEY_X25519
    module_chunks = [given(wire, name) for name in ("session", "name_random", "module_random")]
    if private:
        module_chunks.append(given(wire, "module_private"))
    switch_chunks = [given(wire, "switch_private")] if private else []
    switch_chunks.append(given(wire, "switch_random"))
    here = ModuleConnection(lambda size: module_chunks.pop(0)[:size])
    there = SwitchConnection(TheDirectory(known), Limits(), lambda size: switch_chunks.pop(0)[:size], 0.0)

    hello = here.hello(known, 0.0)
    assert hello == expected(wire, suite, "hello")

    assert there.receive(hello, 0.0) == []
    welcome = there.data_to_send()
    assert welcome == expected(wire, suite, "welcome")

    (welcomed,) = here.receive(welcome, 0.0)
    assert isinstance(welcomed, module.Welcomed)
    session = welcomed.session
    assert session.terms == Terms(2**24, 86400, 90, 16, 20261121, 41)

    plain, answer = expected(wire, suite, "request_plain"), expected(wire, suite, "response_plain")[8:]
    counter, request = here.request(session, plain, 0.0)
    assert (counter, request) == (0, expected(wire, suite, "request"))

    live, received = there.receive(request, 0.0)
    assert isinstance(live, SessionLive)
    assert isinstance(received, RequestReceived)
    assert (received.session, received.counter, received.plain) == (live.session, 0, plain)
    assert not received.over_limit

    response = there.respond(live.session, 0, answer)
    assert response == expected(wire, suite, "response")
    assert here.receive(response, 0.0) == [module.ResponseReceived(session, 0, answer)]

    next_root = expected(wire, suite, "next_root") if private else None
    assert session.next_root == live.session.next_root == next_root
    assert session.access_code_key == live.session.access_code_key == expected(wire, suite, "key_access_code")


def test_keys(wire: dict[str, Any], suite: Suite) -> None:
    """Each key of a session is the known one, and the masked identity opens to who sent it."""
    root = RootKey(suite, given(wire, "root_key"))
    private = given(wire, "module_private") if suite is Suite.SHARED_KEY_X25519 else None
    hello, welcome = expected(wire, suite, "hello"), expected(wire, suite, "welcome")
    _, keys = signon.open_welcome(hello, welcome, root, private)
    assert keys.to_switch == expected(wire, suite, "key_module_to_switch")
    assert keys.to_module == expected(wire, suite, "key_switch_to_module")
    assert keys.access_code == expected(wire, suite, "key_access_code")
    assert keys.iv_to_switch == expected(wire, suite, "iv_module")
    assert keys.iv_to_module == expected(wire, suite, "iv_switch")
    assert hello[24:40] == expected(wire, suite, "masked_identity")
    assert signon.hello_name(hello, given(wire, "group_key")) == signon.Named(1001, 1, suite.value)


def test_access_code(wire: dict[str, Any], suite: Suite) -> None:
    """The access-code block is the known one and opens to the code."""
    vector = wire["suites"][str(suite.value)]
    key, block = expected(wire, suite, "key_access_code"), expected(wire, suite, "access_code_block")
    random = expected(wire, suite, "access_code_random")
    assert access_code.encode(vector["access_code"], vector["card"], key, random) == block
    assert access_code.decode(block, vector["card"], BlockCipher(key)) == "4321"
