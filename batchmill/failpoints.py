"""Failpoints: named moments at which a process can be made to die, to show that nothing is lost there.

`BATCHMILL_FAILPOINT=in-settle` ends each process that gets there as kill -9 would; `in-settle:3` does so the third
time; `in-settle:3:stop` lets it stand still instead, as SIGSTOP does, until it is told to go on. Unset, a point costs a
look at a variable.
"""

import os
import signal
from dataclasses import dataclass
from enum import StrEnum

EXIT_STATUS = 86
_STOP = "stop"


class Failpoint(StrEnum):
    """The moments, in the order in which a request meets them."""

    IN_INTAKE = "in-intake"
    """Some of a batch's lines are stored."""
    BEFORE_START = "before-start"
    """All of them are; the batch has not started."""
    AFTER_START = "after-start"
    """It has; nobody has been told."""
    AFTER_CLAIM = "after-claim"
    """Requests are claimed; nothing else."""
    IN_DISPATCH = "in-dispatch"
    """Calls are written down and held on budgets, in a transaction that is not committed."""
    AFTER_DISPATCH = "after-dispatch"
    """It is committed; none of the calls is made."""
    AFTER_SEND = "after-send"
    """A call's bytes are on their way; no answer has come."""
    BEFORE_SETTLE = "before-settle"
    """An answer is there; nothing of it is written."""
    IN_SETTLE = "in-settle"
    """That the call has ended is written, and nothing else, in a transaction that is not committed."""
    AFTER_SETTLE = "after-settle"
    """All of it is committed; nobody has been told."""
    IN_SWEEP = "in-sweep"
    """What a dead worker held is taken back, in a transaction that is not committed."""
    IN_DELIVERY = "in-delivery"
    """A line of a result file is on its way to a temporary name."""
    BEFORE_RENAME = "before-rename"
    """The result files are whole, under temporary names."""
    BETWEEN_RENAMES = "between-renames"
    """The file of failures has its name; that of answers has not."""
    BEFORE_FINISH = "before-finish"
    """All result files are where they belong; the batch has not ended."""
    IN_JOB = "in-job"
    """A job that runs by itself has begun."""


@dataclass(slots=True)
class Armed:
    """What is to happen where.

    Attributes:
        left: How often the point is passed until then, that time included.
        stops: Stand still there instead of dying.
    """

    point: Failpoint
    left: int = 1
    stops: bool = False

    def meet(self) -> None:
        """One time more."""
        self.left -= 1
        if self.left == 0:
            os.write(2, f"failpoint {self.point}: {_STOP if self.stops else 'exit'}\n".encode())
            if self.stops:
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                os._exit(EXIT_STATUS)


_armed: Armed | None = None


def parse(text: str) -> Armed:
    """What `name`, `name:nth` or `name:nth:stop` says.

    Raises:
        ValueError: It says nothing of the kind.
    """
    name, _, rest = text.partition(":")
    nth, _, what = rest.partition(":")
    if name not in list(Failpoint):
        raise ValueError(f"there is no failpoint {name}; there are {', '.join(Failpoint)}")
    if nth and not (nth.isascii() and nth.isdigit() and int(nth) > 0):
        raise ValueError("behind the name comes how many times it is met, from 1 on")
    if what not in ("", _STOP):
        raise ValueError(f"behind that comes {_STOP} or nothing")
    return Armed(point=Failpoint(name), left=int(nth or 1), stops=bool(what))


def arm(text: str | None) -> None:
    """Let this process, and those forked from it from now on, meet a failpoint; None = none."""
    global _armed
    _armed = None if text is None else parse(text)


def reached(point: Failpoint) -> None:
    """This moment has come."""
    if _armed is not None and _armed.point is point:
        _armed.meet()
