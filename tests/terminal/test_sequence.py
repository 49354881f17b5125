"""Sequence numbers, with and without a file."""

import pytest

from protocol.numbers import SEQUENCE_END
from terminal.shell.sequence import AHEAD, Sequence, SequenceError


async def test_numbers_follow_what_was_learned():
    """The next number is above all that are known to be used; learning an older one takes nothing back."""
    sequence = Sequence()
    assert await sequence.take() == 1
    sequence.learn(41)
    sequence.learn(7)
    assert [await sequence.take(), await sequence.take()] == [42, 43]


async def test_a_killed_module_skips_what_it_reserved(tmp_path):
    """The file is ahead of every number that was given out, so that the next life begins above all of them."""
    path = tmp_path / "sequence"
    first = Sequence(path)
    given = [await first.take() for _ in range(3 * AHEAD)]
    assert given == list(range(1, 3 * AHEAD + 1))
    assert await Sequence(path).take() > given[-1]


async def test_the_file_is_written_before_its_number_is_used(tmp_path):
    """A number whose reservation cannot be written down is not given out."""
    folder = tmp_path / "gone"
    folder.mkdir()
    sequence = Sequence(folder / "sequence")
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        await sequence.take()
    folder.mkdir()
    assert await sequence.take() == 1


async def test_what_the_switch_knows_is_above_the_file(tmp_path):
    """The higher of the two counts."""
    path = tmp_path / "sequence"
    path.write_text("10\n")
    sequence = Sequence(path)
    sequence.learn(500)
    assert await sequence.take() == 501


def test_a_file_of_something_else_is_refused(tmp_path):
    """It says what to do, and is left alone."""
    path = tmp_path / "sequence"
    path.write_text("hello")
    with pytest.raises(SequenceError, match="remove it"):
        Sequence(path)
    assert path.read_text() == "hello"


async def test_numbers_end():
    """The last u32 is given out, and nothing after it: a sequence never starts again."""
    sequence = Sequence()
    sequence.learn(SEQUENCE_END - 2)
    assert await sequence.take() == SEQUENCE_END - 1
    with pytest.raises(SequenceError):
        await sequence.take()
