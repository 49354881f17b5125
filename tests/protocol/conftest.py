"""Known answers, and the two ends of a connection joined without a socket."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from protocol import module as module_end
from protocol import switch as switch_end
from protocol.messages import Response
from protocol.module import ModuleConnection, ModuleSession, Welcomed
from protocol.numbers import Suite
from protocol.signon import ModuleIdentity
from protocol.switch import Limits, ModuleRecord, RequestReceived, SwitchConnection, SwitchSession

GROUP = 7
GROUP_KEY = bytes(range(32, 48))
PLAIN = bytes(range(64)) * 5
ANSWER = Response(result=0, text=b"OK\n").encode()


def counting(start: int) -> Callable[[int], bytes]:
    """Bytes that are never the same twice, as a source of randomness that can be played again."""
    numbers = itertools.count(start)

    def random(size: int) -> bytes:
        return next(numbers).to_bytes(8, "little").ljust(size, b"\x5a")[:size]

    return random


def identity(module: int, suite: Suite = Suite.SHARED_KEY_X25519, generation: int = 1) -> ModuleIdentity:
    """A module's identity, with a root key of its own."""
    return ModuleIdentity(module, generation, suite, module.to_bytes(4) * 8, GROUP, GROUP_KEY)


@dataclass
class Modules:
    """A directory of the modules that were put into it."""

    records: dict[int, ModuleRecord] = field(default_factory=dict)
    full: set[int] = field(default_factory=set)
    last: dict[int, tuple[int, int]] = field(default_factory=dict)

    def enroll(self, *identities: ModuleIdentity) -> None:
        for each in identities:
            self.records[each.module] = ModuleRecord(each.module, each.group, {each.generation: each.root})

    def group_keys(self, group: int) -> tuple[bytes, ...]:
        return (GROUP_KEY,) if group == GROUP else ()

    def module(self, number: int) -> ModuleRecord | None:
        return self.records.get(number)

    def may_open(self, module: int) -> bool:
        return module not in self.full

    def last_name(self, module: int) -> tuple[int, int]:
        return self.last.get(module, (0, 0))


@dataclass
class Pair:
    """Both ends of one connection; `now` is the clock of both."""

    ANSWER: ClassVar = ANSWER

    directory: Modules
    limits: Limits
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.switch = SwitchConnection(self.directory, self.limits, counting(2**32), self.now)
        self.module = ModuleConnection(counting(1))

    def to_switch(self, data: bytes) -> list[switch_end.Event]:
        return self.switch.receive(data, self.now)

    def to_module(self, data: bytes) -> list[module_end.Event]:
        return self.module.receive(data, self.now)

    def welcomed(self, who: ModuleIdentity) -> ModuleSession:
        """HELLO there, WELCOME back."""
        assert self.to_switch(self.module.hello(who, self.now)) == []
        (event,) = self.to_module(self.switch.data_to_send())
        assert isinstance(event, Welcomed)
        return event.session

    def ask(self, session: ModuleSession) -> tuple[SwitchSession, int]:
        """One request, which must arrive."""
        counter, frame = self.module.request(session, PLAIN, self.now)
        event = self.to_switch(frame)[-1]
        assert isinstance(event, RequestReceived)
        assert (event.counter, event.plain) == (counter, PLAIN)
        return event.session, counter

    def answer(self, session: SwitchSession, counter: int) -> list[module_end.Event]:
        return self.to_module(self.switch.respond(session, counter, ANSWER))

    def live(self, who: ModuleIdentity) -> tuple[ModuleSession, SwitchSession]:
        """A session that is live on both ends, with one request answered."""
        session = self.welcomed(who)
        held, counter = self.ask(session)
        assert self.answer(held, counter) == [module_end.ResponseReceived(session, counter, ANSWER)]
        return session, held


@pytest.fixture(scope="session")
def wire() -> dict[str, Any]:
    """The known answers of the wire, made by an encoder that shares no line with this one."""
    loaded: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "wire.json").read_text())
    return loaded


@pytest.fixture(scope="session")
def fresh() -> Callable[[], tuple[Pair, ModuleIdentity]]:
    """Make both ends anew, with one enrolled module: for tests that need many."""

    def make() -> tuple[Pair, ModuleIdentity]:
        directory, who = Modules(), identity(1001, Suite.SHARED_KEY)
        directory.enroll(who)
        return Pair(directory, Limits()), who

    return make


@pytest.fixture
def directory() -> Modules:
    return Modules()


@pytest.fixture
def join(directory: Modules) -> Callable[..., Pair]:
    """Join both ends under some limits."""
    return lambda **limits: Pair(directory, Limits(**limits))


@pytest.fixture
def pair(join: Callable[..., Pair]) -> Pair:
    return join()


@pytest.fixture(params=Suite, ids=lambda suite: f"suite {suite.value}")
def who(request: pytest.FixtureRequest, directory: Modules) -> ModuleIdentity:
    """An enrolled module, of each suite."""
    enrolled = identity(1001, request.param)
    directory.enroll(enrolled)
    return enrolled


@pytest.fixture
def enroll(directory: Modules) -> Callable[..., ModuleIdentity]:
    """Enroll a further module by number."""

    def enrolled(module: int, suite: Suite = Suite.SHARED_KEY_X25519, generation: int = 1) -> ModuleIdentity:
        one = identity(module, suite, generation)
        directory.enroll(one)
        return one

    return enrolled
