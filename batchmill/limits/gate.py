"""The gate: where the calls of one process wait until the limits let them leave.

Calls to one model wait in line; who is first asks for all that will fit, in one round trip. A pass is a moment:
whoever has one writes the call down meanwhile, and sends it exactly then. Only so many may wait for one model that
there is room for others; further ones are told to come back. So are all but the first of a line in which that one has
long to wait: their slots are for calls to other models.
"""

import asyncio
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from batchmill.limits.line import Line, NoPass, Pass, Waiter
from batchmill.limits.measure import NOTHING, counted, counts_what_comes
from batchmill.limits.model import (
    RENEW_EVERY_S,
    Admission,
    Ask,
    Bucket,
    Demand,
    Dimension,
    Limiter,
    Limits,
    Settlement,
)
from batchmill.metering.meter import Meter
from batchmill.providers.base import Reply, Verdict
from batchmill.routing.names import Target

LATE_S = 0.02
"""A call that is later than its moment by more than that waits for another: the pace has gone on without it."""
LONGEST_AGAIN_S = 5.0
"""A call that is written down waits so long for another moment, a third of a lease; then it goes back."""
MOST_ASKED = 64
"""At once."""
LONG_WAIT_S = 10.0
"""While the first of a line waits longer than that, nobody waits behind it."""
MOST_LINES = 10_000
REST_S, LONGEST_REST_S = 60.0, 600.0
"""How long a key rests that its provider has turned away, doubled each time; its others go on."""

_TOKENS = frozenset({Dimension.TOKENS, Dimension.INPUT_TOKENS, Dimension.OUTPUT_TOKENS})
NO_LIMITS = Limits()


class Gate:
    """The gate of one process. Used from one event loop.

    Args:
        accounts: By provider: an id of each of its keys, which does not tell the key.
        room: How many may wait for one model; where several are waited for, each has its part of that.
        clock: The loop's.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        accounts: Mapping[str, Sequence[str]],
        room: int,
        clock: Callable[[], float],
        meter: Meter | None = None,
    ) -> None:
        self._limiter = limiter
        self._meter = meter or Meter()
        self._accounts = accounts
        self._room = max(1, room)
        self._clock = clock
        self._limits: Mapping[tuple[str, str], Limits] = {}
        self._buckets: dict[tuple[Target, int], tuple[Bucket, ...]] = {}
        self._lines: dict[Target, Line] = defaultdict(Line)
        self._waited_for: set[Target] = set()
        self._out: dict[str, Pass] = {}
        self._resting: dict[tuple[str, int], tuple[float, float]] = {}
        self._closed: dict[tuple[Target, int], float] = {}
        self._counts_tokens: dict[Target, bool] = {}
        self._told_tokens: set[Target] = set()
        self._turns: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}"

    def set_limits(self, limits: Mapping[tuple[str, str], Limits]) -> None:
        """Hold calls to these limits, by provider and model; "" is a provider as a whole."""
        if limits != self._limits:
            self._limits = limits
            self._buckets.clear()
            self._counts_tokens = dict.fromkeys(self._told_tokens, True)
            for line in self._lines.values():
                line.moved.set()

    def divide(self, among: int) -> None:
        """From now on so many processes divide the limits between them, where they cannot be shared."""
        self._limiter.divide(max(1, among))

    def is_full(self, target: Target, coming: int = 0, *, is_urgent: bool = False) -> bool:
        """Whether nobody else may wait for a model, once so many more have come; only urgent ones stand in the way of
        one that is."""
        line = self._lines.get(target)
        return line is not None and self._has_no_place(line, coming, is_urgent=is_urgent)

    def counts_tokens(self, target: Target) -> bool:
        """Whether it matters how many tokens a call to a model has."""
        counts = self._counts_tokens.get(target)
        if counts is None:
            limits = (self._limits.get((target.provider, model)) for model in ("", target.model))
            counts = any(limit is not None and any(limit.of(kind) for kind in _TOKENS) for limit in limits)
            self._counts_tokens[target] = counts
        return counts

    async def enter(
        self, target: Target, demand: Demand = NOTHING, *, is_urgent: bool = False
    ) -> Pass | NoPass:
        """Wait in line for leave to call a model. Cancelled, the place in line is given up.

        Args:
            is_urgent: Before others that wait.
        """
        line = self._line(target)
        self._turns[target.provider] += 1
        if not line.waiting:
            account = self._in_turn(target.provider)[0]
            if self._limiter.lets_through(self._buckets_of(target, account)):
                return _free(target, account)
        if self._has_no_place(line, is_urgent=is_urgent):
            return NoPass(wait_s=max(1.0, line.wait_s))
        waiter = Waiter(
            permit=self._new_permit(),
            demand=demand,
            is_urgent=is_urgent,
            told=asyncio.get_running_loop().create_future(),
            since_s=self._clock(),
        )
        line.join(waiter)
        try:
            if not line.is_asked_for:
                await self._begin_asking(target, line)
            return await waiter.told
        except asyncio.CancelledError:
            line.leave(waiter)
            waiter.told.cancel()
            if not waiter.told.cancelled() and isinstance(told := waiter.told.result(), Pass):
                await self.give_back(told)
            raise

    async def start(self, given: Pass) -> Pass | NoPass:
        """Wait for the moment of a pass; who is late for it waits for another moment. The pass in force; none where
        that is too far off."""
        if not given.permit:
            return given
        if self._clock() - given.starts_at_s > LATE_S:
            await self.give_back(given)
            again = await self._again(given)
            if isinstance(again, NoPass):
                return again
            given = again
        try:
            # Late again, it goes all the same: where the server is far, every moment has passed when it is told.
            await asyncio.sleep(max(0.0, given.starts_at_s - self._clock()))
        except asyncio.CancelledError:
            await self.give_back(given)
            raise
        return given

    async def give_back(self, given: Pass) -> None:
        """The call is not made after all. It stays counted, but holds no slot."""
        if self._out.pop(given.permit, None) is not None:
            await self._limiter.settle([Settlement(permit=given.permit)])
            self._lines[given.target].moved.set()

    async def leave(self, given: Pass, reply: Reply) -> None:
        """The call has ended so."""
        target, is_throttled = given.target, reply.verdict is Verdict.THROTTLED
        if not given.permit:
            if not reply.quotas and not is_throttled:
                return  # nearly always, where nothing is limited
            given = await self._counted(given)
        self._out.pop(given.permit, None)
        if is_throttled:
            self._close(given, reply.retry_after_s or 0.0)
        if any(quota.dimension in _TOKENS for quota in reply.quotas):
            self._told_tokens.add(target)
            self._counts_tokens[target] = True
        settlement = Settlement(
            permit=given.permit,
            actual=counted(target.provider, given.demand, reply.usage) if given.demand != NOTHING else None,
            throttled=is_throttled,
            retry_after_s=reply.retry_after_s if is_throttled else None,
            quotas=reply.quotas,
        )
        await self._limiter.settle([settlement])
        self._lines[target].moved.set()

    def rest(self, given: Pass) -> bool:
        """Let the key of a pass rest, as its provider has turned it away; whether another of its keys may be used."""
        key, now = (given.target.provider, given.account), self._clock()
        until_s, rest_s = self._resting.get(key, (0.0, REST_S / 2))
        if until_s <= now:
            rest_s = min(LONGEST_REST_S, 2 * rest_s)
            self._resting[key] = now + rest_s, rest_s
        return bool(self._awake(given.target.provider))

    def has_other_key(self, given: Pass) -> bool:
        """Whether another key than that of a pass may go on: it does not rest, and was not told to wait."""
        now = self._clock()
        return any(
            account != given.account and self._closed.get((given.target, account), 0.0) <= now
            for account in self._awake(given.target.provider)
        )

    async def renew_on(self) -> None:
        """Keep the slots of the calls that are out, for ever."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            if self._out:
                await self._limiter.renew(list(self._out))

    async def close(self) -> None:
        """Turn away whoever waits, and let go of the limiter."""
        for line in self._lines.values():
            if line.asking is not None:
                line.asking.cancel()
            for waiter in list(line.waiting):
                line.leave(waiter)
                waiter.tell(NoPass())
        await self._limiter.close()

    def _close(self, given: Pass, wait_s: float) -> None:
        now = self._clock()
        self._closed = {key: until_s for key, until_s in self._closed.items() if until_s > now}
        key = given.target, given.account
        self._closed[key] = max(now + wait_s, self._closed.get(key, 0.0))

    def _has_no_place(self, line: Line, coming: int = 0, *, is_urgent: bool) -> bool:
        """Whether nobody else may join those who wait in a line."""
        before = line.urgent if is_urgent else len(line.waiting)
        if not before:
            return False
        most = max(1, self._room // max(1, len(self._waited_for)))
        return before + coming >= most or line.wait_s > LONG_WAIT_S

    def _line(self, target: Target) -> Line:
        """The line before a model. Models are named by producers: those that nobody waits for are forgotten in time."""
        if target not in self._lines and len(self._lines) >= MOST_LINES:
            idle = [other for other, line in self._lines.items() if not line.is_asked_for]
            for other in idle:
                del self._lines[other]
            self._buckets.clear()
            self._counts_tokens.clear()
            self._told_tokens.clear()
        return self._lines[target]

    async def _counted(self, given: Pass) -> Pass:
        """A pass that was not asked for, as something limits it after all."""
        permit = self._new_permit()
        await self._limiter.admit([self._ask_of(given.target, given.account, permit, given.demand)])
        return replace(given, permit=permit)

    def _new_permit(self) -> str:
        return f"{self._name}-{next(self._numbers)}"

    async def _again(self, given: Pass) -> Pass | NoPass:
        """Another pass, before all who wait; the same where there is none to be had any more, and none is missed."""
        until_s = self._clock() + LONGEST_AGAIN_S
        while True:
            ask = self._ask_of(given.target, given.account, self._new_permit(), given.demand)
            admission = (await self._limiter.admit([ask]))[0]
            if admission.never:
                return given
            if admission.granted:
                return self._give(replace(given, permit=ask.permit, starts_at_s=admission.starts_at_s))
            if self._clock() + admission.retry_after_s > until_s:
                return NoPass(wait_s=admission.retry_after_s)
            await asyncio.sleep(admission.retry_after_s)

    async def _begin_asking(self, target: Target, line: Line) -> None:
        """Ask for who has come first, and leave it to a task to go on where that is not enough."""
        line.is_asked_for = True
        self._waited_for.add(target)
        is_done = False
        try:
            is_done = await self._ask(target, line)  # nearly always: nothing is limited, or there is room
        finally:
            line.is_asked_for = not is_done
            if not is_done:
                line.asking = asyncio.create_task(self._ask_on(target, line), name=f"gate {target.name}")
            else:
                self._waited_for.discard(target)

    async def _ask_on(self, target: Target, line: Line) -> None:
        """Ask for those who wait, until nobody does."""
        try:
            while not await self._ask(target, line):
                line.moved.clear()
                try:
                    async with asyncio.timeout(line.wait_s):
                        await line.moved.wait()
                except TimeoutError:
                    pass
        finally:
            line.is_asked_for, line.asking = False, None
            self._waited_for.discard(target)

    async def _ask(self, target: Target, line: Line) -> bool:
        """Ask for those who wait, the first first, with each key in turn; whether nobody waits any more."""
        waits_s = []
        for account in self._in_turn(target.provider):
            line.forget_gone()
            asked = line.first(MOST_ASKED)
            if not asked:
                line.wait_s = 0.0
                return True
            asks = [self._ask_of(target, account, waiter.permit, waiter.demand) for waiter in asked]
            admissions = await self._limiter.admit(asks)
            waits_s.append(await self._tell(target, account, line, asked, admissions))
        line.wait_s = min(waits_s)
        if line.wait_s > LONG_WAIT_S:
            for waiter in list(line.waiting)[1:]:
                line.leave(waiter)
                waiter.tell(NoPass(wait_s=line.wait_s))
        return not line.waiting

    async def _tell(
        self,
        target: Target,
        account: int,
        line: Line,
        asked: Sequence[Waiter],
        admissions: Sequence[Admission],
    ) -> float:
        """Tell those who were asked for; how long the first who has to wait has to."""
        waits_s, is_any_eased = 0.0, False
        for waiter, admission in zip(asked, admissions, strict=True):
            if admission.never and waiter.demand.output_tokens and counts_what_comes(target.provider):
                waiter.ease()
                is_any_eased = True
                continue
            if not (admission.granted or admission.never):
                waits_s = waits_s or admission.retry_after_s
                waiter.limit = line.limit = admission.limit
                continue
            line.leave(waiter)
            if admission.never:
                waiter.tell(NoPass(never=True))
                continue
            given = self._give(
                Pass(
                    permit=waiter.permit,
                    target=target,
                    account=account,
                    demand=waiter.demand,
                    starts_at_s=admission.starts_at_s,
                )
            )
            if not waiter.tell(given):
                await self.give_back(given)  # who asked has gone meanwhile
                continue
            line.note_let_through(waiter)
            if limit := admission.limit or waiter.limit or line.limit:
                self._meter.note_limit_wait(target, limit, given.starts_at_s - waiter.since_s)
        return 0.0 if is_any_eased else waits_s

    def _give(self, given: Pass) -> Pass:
        self._out[given.permit] = given
        return given

    def _in_turn(self, provider: str) -> list[int]:
        """The keys of a provider that do not rest, the one whose turn it is first; all where all rest."""
        if len(self._accounts[provider]) == 1:
            return [0]
        awake = self._awake(provider) or list(range(len(self._accounts[provider])))
        first = self._turns[provider] % len(awake)
        return awake[first:] + awake[:first]

    def _awake(self, provider: str) -> list[int]:
        now = self._clock()
        return [
            account
            for account in range(len(self._accounts[provider]))
            if self._resting.get((provider, account), (0.0, 0.0))[0] <= now
        ]

    def _ask_of(self, target: Target, account: int, permit: str, demand: Demand) -> Ask:
        return Ask(permit=permit, buckets=self._buckets_of(target, account), demand=demand)

    def _buckets_of(self, target: Target, account: int) -> tuple[Bucket, ...]:
        """What a call counts in: all of its key's, if that has limits of its own, and its model's."""
        buckets = self._buckets.get((target, account))
        if buckets is None:
            name = f"{target.provider}/{self._accounts[target.provider][account]}"
            whole = self._limits.get((target.provider, ""))
            own = Bucket(name=f"{name}/{target.model}", limits=self._limits.get(target.key, NO_LIMITS))
            buckets = (Bucket(name=name, limits=whole), own) if whole else (own,)
            self._buckets[target, account] = buckets
        return buckets


@lru_cache(maxsize=1_000)
def _free(target: Target, account: int) -> Pass:
    """A pass that nothing was asked for: at once, and as often as one likes."""
    return Pass(permit="", target=target, account=account, demand=NOTHING, starts_at_s=0.0)
