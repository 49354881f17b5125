"""The root keys that a module holds beside its kit."""

from __future__ import annotations

import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
from scripted_switch import identity

from terminal.shell.roots import NEXT_S, Roots, RootsError

if TYPE_CHECKING:
    from pathlib import Path

KIT = identity(1001)
NEXT = replace(KIT, generation=2, root_key=b"n" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "till.roots"


async def test_without_a_file_nothing_is_taken() -> None:
    """The switch would give the old key up, and this module would lose the new one with its process."""
    roots = Roots(KIT)
    assert not await roots.take(KIT, NEXT.root_key)
    assert roots.identity == KIT


def test_a_key_is_on_the_disk_before_it_is_used(path: Path) -> None:
    """The next process of the module knows both, tries the new one first and the old one when that is refused."""
    assert trio.run(Roots(KIT, path).take, KIT, NEXT.root_key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    roots = Roots(KIT, path)
    tried = []
    for _ in range(4):
        tried.append(roots.identity)
        roots.refused()
    assert tried == [NEXT, KIT, NEXT, KIT]


async def test_the_old_one_is_given_up_behind_the_new(path: Path) -> None:
    """Not when the old one has signed on; when the new one has, for good, also by a process that starts later."""
    roots = Roots(KIT, path)
    await roots.take(KIT, NEXT.root_key)
    await roots.proven(KIT)
    roots.refused()
    assert roots.identity == KIT
    await roots.proven(NEXT)
    for each in (roots, Roots(KIT, path)):
        each.refused()
        assert each.identity == NEXT


async def test_what_a_later_session_gives_takes_its_place(path: Path) -> None:
    """The switch keeps what the last session gave; each refusal makes the next wait longer."""
    roots = Roots(KIT, path)
    await roots.take(KIT, NEXT.root_key)
    assert roots.rest_s == NEXT_S
    roots.refused()
    assert await roots.take(KIT, b"o" * 32)
    assert roots.identity == replace(NEXT, root_key=b"o" * 32)
    roots.refused()
    roots.refused()
    assert roots.rest_s > NEXT_S


async def test_a_new_kit_takes_the_place_of_the_file(path: Path) -> None:
    """A generation that was given out on paper is newer than what the file has; an older kit is not."""
    await Roots(KIT, path).take(KIT, NEXT.root_key)
    paper = replace(KIT, generation=3, root_key=b"p" * 32)
    assert Roots(paper, path).identity == paper
    assert Roots(KIT, path).identity == NEXT


async def test_a_disk_that_refuses(path: Path, tmp_path: Path) -> None:
    """Nothing is taken, and the module goes on by what it has."""
    roots = Roots(KIT, tmp_path / "no folder" / path.name)
    assert not await roots.take(KIT, NEXT.root_key)
    assert roots.identity == KIT


@pytest.mark.parametrize("text", ["", "{}", '{"modules": []}', "[1]", "\u00e9"])
def test_what_is_no_such_file_is_refused(path: Path, text: str) -> None:
    """With its name, and not what stands in it."""
    path.write_text(text, "utf-8")
    with pytest.raises(RootsError, match=r"till\.roots"):
        Roots(KIT, path)
    trio.run(Roots(identity(1002), path.with_name("other")).take, identity(1002), b"x" * 32)
    with pytest.raises(RootsError, match="1001"):
        Roots(KIT, path.with_name("other"))
