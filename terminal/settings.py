"""How patient a module is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """How long a module waits, and for what; times in seconds.

    Attributes:
        deadline_s: how long a call waits for its answer, unless it says so itself.
        answer_s: how long it waits for the answer to one copy before it sends the next.
        reversal_s: how long it waits, after its deadline, for the automatic reversal.
        leave_s: how long a module that is left tries to settle what is open.
        keep_open: keep the session with an echo when idle; else let it end, and sign on when a call needs it.
        open_max: how many requests without a recorded answer the module remembers.
        resume_s: how long after it was asked a request whose module was cut off may still be carried out; what is older
            and moves value is reversed.

    """

    deadline_s: float = 30.0
    answer_s: float = 5.0
    reversal_s: float = 10.0
    leave_s: float = 10.0
    keep_open: bool = True
    open_max: int = 64
    resume_s: float = 300.0
