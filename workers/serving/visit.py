"""A visit: one request whose caller waits for its answer, from when it is entered to when that is known."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from batchmill.errors import OutOfTimeError
from batchmill.requests.ids import public_request_id, request_id
from batchmill.requests.work import Attempt, Job, Outcome
from batchmill.routing.names import Target
from batchmill.streams.relay import Relay
from db.direct import Entry, Standing

T = TypeVar("T")

AUTO, MANUAL, FALLBACK, DOWNGRADE = "auto", "manual", "fallback", "downgrade"
"""How it came that this model answered: it was left to us, asked for, next in line, or cheaper as a budget wants it."""


def out_of_time() -> OutOfTimeError:
    """What a caller is told whose time is up."""
    return OutOfTimeError(
        "no answer came in the time that a request is granted",
        "try again; BATCHMILL_CALL_TIMEOUT_S sets how long that is",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """How a visit ended.

    Attributes:
        request: The public name of the request.
        selection: `auto`, `manual`, `fallback` or `downgrade`.
    """

    request: str
    selection: str
    standing: Standing


@dataclass(slots=True, kw_only=True, eq=False)
class Visit:
    """One request at the desk.

    Attributes:
        until_ms: When it is given up.
        until_s: When its caller is told that there is no answer, whatever it is about then; by the loop's clock.
        relay: Takes the answer's pieces to its caller; None for one who wants it whole.
        request: Its row number, once it is entered; 0 before.
        batch: Its batch's.
        outcomes: Of the calls that we have made for it.
        due_ms: When it can be claimed again, where we have given it back.
        ended: How it has ended, where we have seen that ourselves.
        target: Whom it was put to last.
        was_passed_on: Somebody before that did not answer, or could not be asked.
        is_left: Nobody waits for its answer any more.
        moved: Something has happened that it may be waiting for.
    """

    entry: Entry
    until_ms: int
    until_s: float
    relay: Relay | None = None
    request: int = 0
    batch: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    due_ms: int | None = None
    ended: Standing | None = None
    target: Target | None = None
    was_passed_on: bool = False
    is_left: bool = False
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[Standing] | None" = None

    def follow(self, task: "asyncio.Task[Standing]") -> None:
        """Be attended to by this task."""
        self._task = task
        task.add_done_callback(self._over)

    async def answered(self) -> Answered:
        """Wait for the end. Who is cancelled meanwhile has left; a call that is out goes on all the same.

        Raises:
            BatchmillError: There is none to be had.
        """
        assert self._task is not None
        standing = await self._in_time(asyncio.shield(self._task))
        return Answered(request=self.name, selection=self._selection(standing), standing=standing)

    async def begun(self) -> bool:
        """Wait for the first piece of the answer, or the end; whether there are pieces. Who is cancelled has left.

        Raises:
            OutOfTimeError: Neither came in time.
        """
        assert self.relay is not None
        return await self._in_time(self.relay.begun())

    async def _in_time(self, wanted: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(self.until_s):
                return await wanted
        except TimeoutError:
            self.leave()
            raise out_of_time() from None
        except asyncio.CancelledError:
            self.leave()
            raise

    def leave(self) -> None:
        """Nobody waits any more: no call is begun for it that is not out yet."""
        if self._task is not None and not self._task.done():
            self.is_left = True
            self.moved.set()
        if self.relay is not None:
            self.relay.leave()

    def take(self, job: Job) -> Job:
        """Let a claimed job know who waits for its answer, and how."""
        job.until_ms, job.listener = self.until_ms, self.relay
        self.due_ms = None
        return job

    def note_sent(self, attempt: Attempt) -> None:
        """A call for it is about to be made."""
        self.target = attempt.target
        self.was_passed_on = bool(attempt.job.path.steps)

    @property
    def name(self) -> str:
        """The request's public name; the same before it is entered."""
        return public_request_id(self.entry.public_id, self.request or request_id(0, 1))

    @property
    def selection(self) -> str:
        """How it came that it was put to whom it was put last."""
        return self._selected(self.target)

    def _selection(self, standing: Standing) -> str:
        if not standing.provider:
            return self._selected(None)
        return self._selected(Target(provider=standing.provider, model=standing.model))

    def _selected(self, target: Target | None) -> str:
        line = self.entry.line
        if not line.provider:
            return AUTO
        if target is None or target == Target(provider=line.provider, model=line.model):
            return MANUAL
        return FALLBACK if self.was_passed_on or self.target is None else DOWNGRADE

    def _over(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled():
            task.exception()  # seen, also when nobody waits for it any more
        if self.relay is not None:
            self.relay.end()
