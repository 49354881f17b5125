"""What modules ask: names that grow, references to what was asked, and the right cards."""

import datetime as dt
from dataclasses import replace
from random import Random

import pytest

from loadtest.cards import Cards, access_code_of
from loadtest.profile import Act, Profile, load_profile
from loadtest.traffic import FORGETFUL_IN, Script, arrivals
from protocol import access_code
from protocol.crypto import BlockCipher
from protocol.messages import OriginalName, Request, decode_request
from protocol.numbers import Command, Flag

TODAY = dt.date(2026, 3, 14)
KEY = bytes(range(16))
CARDS = Cards(range(1000))
FRESH = Cards(range(1000, 1003))


def script(profile: Profile, seed: int = 1) -> Script:
    return Script(
        profile,
        CARDS,
        module=1001,
        today=TODAY,
        last_sequence=40,
        code_key=KEY,
        random=Random(seed),  # noqa: S311 - traffic
        fresh=FRESH,
    )


def asked(profile: Profile, count: int = 2000) -> list[Request]:
    written = script(profile)
    return [written.next() for _ in range(count)]


def only(**mix: float) -> Profile:
    return replace(load_profile("mixed"), mix={Act(act): weight for act, weight in mix.items()})


def typed(request: Request) -> str | None:
    assert request.access_code_block is not None
    return access_code.decode(request.access_code_block, request.card, BlockCipher(KEY))


def test_each_request_is_one_that_the_wire_allows() -> None:
    """Whatever the mix, no request breaks its command's format."""
    for request in asked(load_profile("mixed")):
        assert decode_request(request.encode()) == request


def test_names_grow_by_one_and_only_a_repeat_uses_one_again() -> None:
    """The sequence goes on behind the last that the ledger knows; a repeat is an earlier request, flag apart."""
    first: dict[int, Request] = {}
    for request in asked(load_profile("mixed")):
        if Flag.REPEAT in request.flags:
            assert request._replace(flags=first[request.sequence].flags) == first[request.sequence]
        else:
            assert request.sequence == 41 + len(first)
            first[request.sequence] = request
    assert len(first) < 2000


def test_a_reversal_names_an_earlier_sale_with_its_amount_and_none_is_reversed_twice() -> None:
    """What is undone is what this module has asked before."""
    sales: dict[OriginalName, int] = {}
    reversed_: list[OriginalName] = []
    for request in asked(only(sale=3, reverse=1)):
        if request.command is Command.SALE:
            sales[OriginalName(request.date, request.sequence)] = request.amount
        else:
            assert isinstance(request.original, OriginalName)
            assert sales[request.original] == request.amount
            reversed_.append(request.original)
    assert 300 < len(reversed_) == len(set(reversed_))


@pytest.mark.parametrize("act", ["refund", "reprint", "page"])
def test_what_looks_back_names_an_earlier_sale(act: str) -> None:
    """A refund, a reprint and a page belong to a sale of this script; the first request can only be a sale."""
    requests = asked(only(**{act: 1, "sale": 1}), 200)
    assert requests[0].command is Command.SALE
    sold = {OriginalName(each.date, each.sequence): each.amount for each in requests if each.command is Command.SALE}
    looking = [each for each in requests if each.command is not Command.SALE]
    assert looking
    for request in looking:
        assert isinstance(request.original, OriginalName)
        assert request.amount <= sold[request.original]


def test_a_sale_carries_the_holders_code_and_a_card_without_one_carries_none() -> None:
    """Half of the cards need it, and get it under the session's key."""
    for request in asked(only(sale=1), 300):
        code = access_code_of(request.card)
        assert (request.access_code_block is None) == (code is None)
        assert (Flag.ACCESS_CODE in request.flags) == (code is not None)
        if code is not None:
            assert typed(request) == code


def test_only_the_forgetful_mistype() -> None:
    """Wrong codes meet few cards, so that few are locked; and what is typed is wrong."""
    forgetful = {card.number for card in CARDS[::FORGETFUL_IN]}
    coded = [each for each in asked(only(wrong_code=1), 200) if each.access_code_block is not None]
    assert coded
    for request in coded:
        assert request.card in forgetful
        assert typed(request) != access_code_of(request.card)


def test_fresh_cards_are_sold_once_and_then_it_sells_goods() -> None:
    """A module never sells a card twice, and does not stop when it has none left."""
    requests = asked(only(activate=1), 5)
    assert [each.card for each in requests[:3]] == [card.number for card in FRESH]
    assert [each.command for each in requests] == [Command.ACTIVATE] * 3 + [Command.SALE] * 2


def test_the_same_seed_asks_the_same() -> None:
    """A run can be made again."""
    one, other, different = (script(load_profile("mixed"), seed) for seed in (5, 5, 6))
    first, second, third = ([each.next() for _ in range(50)] for each in (one, other, different))
    assert first == second != third


def test_customers_come_at_the_rates_of_the_curve() -> None:
    """A quarter of the run at half the rate, a quarter at none, half at the whole: 100/s x 40 s x (1/8 + 0 + 1/2)."""
    profile = replace(load_profile("evening"), rate_per_s=100.0, duration_s=40.0, curve=(0.5, 0.0, 1.0, 1.0))
    times = arrivals(profile, Random(3))  # noqa: S311 - traffic
    assert times == sorted(times)
    assert not [at for at in times if 10 <= at < 20]
    assert abs(len([at for at in times if at < 10]) - 500) < 5 * 500**0.5
    assert abs(len([at for at in times if 20 <= at < 40]) - 2000) < 5 * 2000**0.5
    assert max(times) < 40
