"""What a module asks, one request after the other: a shop's till as a pure generator.

What must hold:
  * A script never needs an answer to go on, so that requests can be sealed before the run: what a reversal, a refund or
    a reprint refers to is an earlier request of the script, whatever became of it.
  * Names are the module's own and only grow.
  * Which cards are used follows from the act: people who forget their code are a few, so that they lock few cards, and
    cards to be sold are the module's alone.
"""

import datetime as dt
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Any, Final

from loadtest.cards import Plastic
from loadtest.profile import Act, Profile
from protocol import access_code
from protocol.messages import OriginalName, Request
from protocol.numbers import Command, Flag

OPENING_MINOR: Final = 10**12  # what a card is sold with: no run spends it, not even from one card
SALE_MINOR_MAX: Final = 2_000
RELOAD_MINOR: Final = 1_000
REMEMBERED: Final = 64  # earlier requests that a till may come back to
FORGETFUL_IN: Final = 101  # so few cards have a holder who mistypes; odd, so that half of them have a code
NOT_SERVED: Final = Command.VISIT
CODE_RANDOM_BYTES: Final = 8
LOOKING_BACK: Final = {
    Act.REFUND: Command.REFUND,
    Act.REVERSE: Command.REVERSE,
    Act.REPRINT: Command.REPRINT,
    Act.PAGE: Command.PAGE,
}


class Script:
    """The requests of one module in one session; `next` gives them in the order in which they must be sent."""

    def __init__(
        self,
        profile: Profile,
        cards: Sequence[Plastic],
        *,
        module: int,
        today: dt.date,
        last_sequence: int,
        code_key: bytes,
        random: Random,
        fresh: Sequence[Plastic] = (),
    ) -> None:
        """Begin behind `last_sequence`; `code_key` is the session's, `fresh` are cards that only this module sells."""
        self._cards = cards
        self._module = module
        self._today = today
        self._sequence = last_sequence
        self._code_key = code_key
        self._random = random
        self._fresh = deque(fresh)
        self._sales: deque[Request] = deque(maxlen=REMEMBERED)
        self._recorded: deque[Request] = deque(maxlen=REMEMBERED)
        self._acts = list(profile.mix)
        self._weights = list(accumulate(profile.mix[act] for act in self._acts))

    def next(self) -> Request:
        """The next request."""
        [act] = self._random.choices(self._acts, cum_weights=self._weights) if len(self._acts) > 1 else self._acts
        request = self._make(act)
        if request.command is Command.SALE and Flag.REPEAT not in request.flags:
            self._sales.append(request)
        if request.command not in (Command.ECHO, Command.PAGE):
            self._recorded.append(request)
        return request

    def activation(self, card: Plastic) -> Request:
        """The sale of this card."""
        return self._request(Command.ACTIVATE, card=card.number, amount=OPENING_MINOR)

    def _make(self, act: Act) -> Request:
        match act:
            case Act.BALANCE:
                return self._with_code(Command.BALANCE, self._any_card())
            case Act.RELOAD:
                return self._request(Command.RELOAD, card=self._any_card().number, amount=RELOAD_MINOR)
            case Act.ACTIVATE if self._fresh:
                return self.activation(self._fresh.popleft())
            case Act.ECHO:
                return self._request(Command.ECHO)
            case Act.WRONG_CODE:
                return self._with_code(Command.SALE, self._forgetful(), mistyped=True, amount=self._amount())
            case Act.UNKNOWN_CARD:
                number = f"9{self._random.randrange(10**17):017d}"
                return self._with_code(Command.SALE, Plastic(number, "0000"), amount=self._amount())
            case Act.NOT_SERVED:
                return self._request(NOT_SERVED, card=self._any_card().number)
            case Act.REPEAT if self._recorded:
                earlier = self._random.choice(self._recorded)
                return earlier._replace(flags=earlier.flags | Flag.REPEAT)
            case _ if self._sales and act in LOOKING_BACK:
                return self._look_back(act)
            case _:  # a sale, and what cannot be done yet
                return self._with_code(Command.SALE, self._any_card(), amount=self._amount())

    def _look_back(self, act: Act) -> Request:
        sale = self._sales.pop() if act is Act.REVERSE else self._sales[0]
        match LOOKING_BACK[act]:
            case Command.REVERSE as command:
                return self._request(command, original=_name(sale), amount=sale.amount)
            case Command.REFUND as command:
                return self._request(command, original=_name(sale), amount=max(1, sale.amount // 2))
            case Command.PAGE as command:
                return self._request(command, original=_name(sale), page=1)
            case command:
                return self._request(command, original=_name(sale))

    def _any_card(self) -> Plastic:
        return self._cards[int(self._random.random() * len(self._cards))]

    def _forgetful(self) -> Plastic:
        return self._random.choice(self._cards[::FORGETFUL_IN])

    def _amount(self) -> int:
        return 1 + int(self._random.random() * SALE_MINOR_MAX)

    def _with_code(self, command: Command, card: Plastic, *, mistyped: bool = False, **fields: Any) -> Request:
        code = card.access_code
        if code is not None and mistyped:
            code = "".join(str((int(digit) + 1) % 10) for digit in code)
        if code is not None:
            block = access_code.encode(code, card.number, self._code_key, self._random.randbytes(CODE_RANDOM_BYTES))
            fields |= {"access_code_block": block, "flags": Flag.ACCESS_CODE}
        return self._request(command, card=card.number, **fields)

    def _request(self, command: Command, **fields: Any) -> Request:
        self._sequence += 1
        return Request(
            command=command, module=self._module, date=self._today, sequence=self._sequence, time=_NOON, **fields
        )


_NOON: Final = dt.time(12)


def _name(request: Request) -> OriginalName:
    return OriginalName(request.date, request.sequence)


def arrivals(profile: Profile, random: Random) -> list[float]:
    """When customers come, in seconds from the start of an open run: at random, at the rates of the curve."""
    step_s = profile.duration_s / len(profile.curve)
    peak = max(profile.curve)
    times: list[float] = []
    now = 0.0
    while True:
        now += random.expovariate(profile.rate_per_s * peak)
        if now >= profile.duration_s:
            return times
        if random.random() * peak < profile.curve[int(now / step_s)]:  # thinning: what the peak has too many
            times.append(now)
