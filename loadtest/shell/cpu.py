"""CPU time of processes, as Linux counts it in /proc: user and system together, in seconds.

A server's processes come and go. One that has ended counts in its parent, which has waited for it, so a whole tree is
the root with what it has waited for, and the processes that are still there below it.
"""

import os
import resource
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PROC: Final = Path("/proc")


def own_s() -> float:
    """Of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def tree_s(pid: int) -> float:
    """Of a process and all below it; what is gone meanwhile counts nothing."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        children = _children(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    ticks = sum(int(fields[place]) for place in (11, 12, 13, 14))  # utime, stime, cutime, cstime
    return ticks / _TICKS_PER_S + sum(tree_s(child) for child in children)


def resident_bytes(pid: int) -> int:
    """The memory that a process and all below it hold; pages that several hold count in each."""
    pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(resident_bytes, _children(pid)))


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for task in (_PROC / str(pid) / "task").iterdir()
        for child in (task / "children").read_text().split()
    ]
