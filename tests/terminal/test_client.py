"""The module against a switch that does as it is told, on the virtual clock."""

from protocol.numbers import Command

CARD = "6280000000000017"
CODE = "4711"


async def test_a_sale_is_answered(switch, module, autojump_clock):
    """A call gives the recorded answer: result, amounts, receipt; the code went along, sealed for this session."""
    async with module() as m:
        answer = await m.sale(CARD, 1250, access_code=CODE, cashier=7, till_receipt="A-17")
    assert answer.approved
    assert answer.approved_minor == 1250
    assert answer.lines == ("APPROVED",)
    (heard,) = switch.of(Command.SALE)
    assert heard.access_code == CODE
    assert (heard.request.card, heard.request.amount, heard.request.cashier) == (CARD, 1250, 7)
    assert not heard.repeat


async def test_a_lost_answer_is_fetched_by_a_repeat(switch, module, deed, autojump_clock):
    """The connection breaks after the switch has recorded: the same request goes out again, and the answer comes."""
    async with module() as m:
        switch.deeds.append(deed.RECORD_AND_DROP)
        answer = await m.sale(CARD, 1250, access_code=CODE)
    assert answer.approved
    first, second = switch.of(Command.SALE)
    assert second.repeat
    assert not first.repeat
    assert second.access_code == CODE
    assert (first.request.name, first.request.time) == (second.request.name, second.request.time)
    assert second.connection == first.connection + 1
    assert len(switch.recorded) == 1
