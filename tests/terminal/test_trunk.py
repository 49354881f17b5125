"""Where answers come in."""

import pytest

from protocol.messages import Response
from protocol.numbers import Result
from terminal.shell.trunk import Reply


@pytest.mark.parametrize("first", ["final", "not final"])
def test_a_final_answer_outlives_one_that_is_not(first):
    """Two copies are answered before anybody looks: the recorded answer counts, whichever came first."""
    final, not_final = Response(result=0).encode(), Response(result=Result.UNAVAILABLE).encode()
    reply = Reply()
    for answer in (final, not_final) if first == "final" else (not_final, final):
        reply.give(answer)
    assert reply.take() == final
    assert reply.take() is None
