"""What a till reads out of an answer's bytes."""

import datetime as dt

import pytest

from protocol.messages import Request, RequestName, Response
from protocol.numbers import CodePage, Command
from terminal.answer import Answer, NoAnswerError, UnsettledError

DAY = dt.date(2026, 3, 14)
REQUEST = Request(command=Command.SALE, module=1001, date=DAY, sequence=5, card="6280000000000017", amount=5000)
ECHOED = {"command": Command.SALE, "module": 1001, "date": 20260314, "sequence": 5}


def test_an_answer_is_read():
    """Result, amounts, number and text come out of the recorded bytes as they stand there."""
    recorded = Response(
        **ECHOED,
        result=10,
        unit=978,
        pages=2,
        page=1,
        approved=3750,
        still_due=1250,
        balance=0,
        available=-5,
        authorization="315000000017",
        valid_until=dt.date(2029, 3, 14),
        text=b"SALE\nAPPROVED IN PART\n",
    ).encode()
    answer = Answer.read(REQUEST, recorded)
    assert answer.approved
    assert (answer.result, answer.approved_minor, answer.still_due_minor) == (10, 3750, 1250)
    assert (answer.balance_minor, answer.available_minor, answer.unit) == (0, -5, 978)
    assert (answer.authorization, answer.valid_until) == ("315000000017", dt.date(2029, 3, 14))
    assert answer.lines == ("SALE", "APPROVED IN PART")
    assert answer.pages_total == 2
    assert answer.name == RequestName(1001, DAY, 5)
    assert answer.recorded == recorded


@pytest.mark.parametrize(
    ("code_page", "raw", "text"),
    [
        (CodePage.CP1257, b"D\xe2vana\n", "Dāvana\n"),
        (CodePage.CP866, b"\x87\xa5\xad\xa0\n", "Зена\n"),
    ],
)
def test_text_is_read_in_its_code_page(code_page, raw, text):
    """The printer's bytes become text by the code page that the answer names."""
    answer = Answer.read(REQUEST, Response(**ECHOED, code_page=code_page, text=raw).encode())
    assert answer.text == text


@pytest.mark.parametrize("other", [{"command": Command.RELOAD}, {"module": 1002}, {"date": 20260315}, {"sequence": 6}])
def test_another_request_s_answer_is_none(other):
    """Bytes that echo another command, module, date or sequence answer another request."""
    assert Answer.read(REQUEST, Response(**(ECHOED | other)).encode()) is None


def test_garbage_is_no_answer():
    """Bytes that break the format, or are too few, answer nothing."""
    assert Answer.read(REQUEST, b"\xff" * 1400) is None
    assert Answer.read(REQUEST, b"") is None


def test_messages_say_what_happened_and_hide_the_rest():
    """Errors name the request and its fate, never a card or an amount."""
    name = RequestName(1001, DAY, 5)
    reversal = Answer.read(REQUEST, Response(**ECHOED, result=0).encode())
    declined = Answer.read(REQUEST, Response(**ECHOED, result=12).encode())
    assert "was not sent" in str(NoAnswerError(None, sent=False))
    assert str(NoAnswerError(name, sent=True)).startswith("1001/2026-03-14/5 got no answer in time")
    assert "was reversed" in str(NoAnswerError(name, sent=True, reversal=reversal))
    assert "reversal was declined" in str(NoAnswerError(name, sent=True, reversal=declined))
    assert "1001/2026-03-14/5" in str(UnsettledError((name,)))
    assert "6280000000000017" not in repr(reversal) + str(NoAnswerError(name, sent=True, reversal=reversal))


def test_the_shops_copy_is_the_receipt_with_a_line_to_sign():
    """Each line of the receipt, a mark above and a signature below, as wide as the paper; a decline is not signed."""
    fields = ECHOED | {"columns": 32, "code_page": CodePage.CP775, "pages": 1, "page": 1}
    answer = Answer.read(REQUEST, Response(**fields, text="SALE\nBrīvības 1\n".encode("cp775")).encode())
    assert answer is not None
    copy = answer.merchant_copy("lv")
    assert [line for line in copy if line in answer.lines] == list(answer.lines)
    assert "TIRGOTĀJA" in copy[0]
    assert "_" * 32 in copy
    declined = Answer.read(REQUEST, Response(**fields, result=51, text=b"SALE\n").encode())
    assert declined is not None
    with pytest.raises(ValueError, match="not approved"):
        declined.merchant_copy()
