"""The gate: who waits for the limits, in which order, and with which key; by a clock of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

import pytest

from batchmill.limits import gate as gates
from batchmill.limits.gate import LATE_S, LONGEST_AGAIN_S, REST_S, Gate
from batchmill.limits.line import NoPass, Pass
from batchmill.limits.memory import MemoryLimiter
from batchmill.limits.model import Admission, Ask, Bucket, Demand, Dimension, Limits, Quota, Settlement
from batchmill.providers.base import Reply, Verdict
from batchmill.routing.names import Target
from tests.support.replies import ANSWERED, FAULTY, THROTTLED

MODEL = Target(provider="openai", model="m")
OTHER = Target(provider="openai", model="other")
TOLD = replace(ANSWERED, quotas=(Quota(dimension=Dimension.TOKENS, limit=60_000, remaining=50_000),))


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Turnstile:
    """A `Limiter` that lets one through for each turn it is given, for the moment it is given for."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.turns: list[float] = []
        self.asked: list[str] = []
        self.lists: list[int] = []
        self.settled: list[Settlement] = []
        self.renewed: list[str] = []
        self.largest = 10**9
        self.wait_s = 0.01
        self.closed_keys: set[str] = set()
        self.closed_for_s = 0.01
        self.answering: asyncio.Event | None = None

    def lets_through(self, buckets: Sequence[Bucket]) -> bool:
        return False

    async def admit(self, asks: Sequence[Ask]) -> list[Admission]:
        self.lists.append(len(asks))
        if self.answering is not None:
            await self.answering.wait()
        return [self._answer(ask) for ask in asks]

    def _answer(self, ask: Ask) -> Admission:
        self.asked.append(ask.buckets[-1].name)
        if ask.demand.input_tokens > self.largest or ask.demand.output_tokens > self.largest:
            return Admission(granted=False, never=True)
        is_closed = any(key in ask.buckets[-1].name for key in self.closed_keys)
        if is_closed or not self.turns:
            return Admission(granted=False, retry_after_s=self.closed_for_s if is_closed else self.wait_s)
        return Admission(granted=True, starts_at_s=self.clock.now_s + self.turns.pop(0))

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        self.settled += settlements

    async def renew(self, permits: Collection[str]) -> None:
        self.renewed += permits

    def divide(self, among: int) -> None:
        pass

    async def close(self) -> None:
        pass


def playing(
    play: Callable[[Gate, Turnstile, Clock], Awaitable[None]], *, keys: Sequence[str] = ("k",), room: int = 8
) -> None:
    """Have a test's play with a gate before a turnstile."""

    async def run() -> None:
        clock = Clock()
        turnstile = Turnstile(clock)
        gate = Gate(
            turnstile, accounts={"openai": keys, "anthropic": keys, "gemini": keys}, room=room, clock=clock
        )
        async with asyncio.timeout(10):
            await play(gate, turnstile, clock)
            await gate.close()

    asyncio.run(run())


async def some_turns_of_the_loop() -> None:
    for _ in range(20):
        await asyncio.sleep(0.002)


def test_first_come_first_served() -> None:
    """Whoever waits longest leaves first, also where several may leave at once."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        left: list[int] = []

        async def call(number: int) -> None:
            assert isinstance(await gate.enter(MODEL), Pass)
            left.append(number)

        calls = [asyncio.create_task(call(number)) for number in range(6)]
        await some_turns_of_the_loop()
        assert left == []
        turnstile.turns = [0.0] * 2
        await some_turns_of_the_loop()
        assert left == [0, 1]
        turnstile.turns = [0.0] * 9
        await asyncio.gather(*calls)
        assert left == list(range(6))

    playing(play)


def test_those_who_wait_are_asked_for_together() -> None:
    """One round trip for all of them, however many tasks they are."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        calls = [asyncio.create_task(gate.enter(MODEL)) for _ in range(6)]
        await some_turns_of_the_loop()
        assert max(turnstile.lists) == 6
        turnstile.turns = [0.0] * 6
        await asyncio.gather(*calls)

    playing(play)


def test_no_more_wait_than_there_is_room() -> None:
    """Others are told to come back; other models have a line of their own."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        calls = [asyncio.create_task(gate.enter(MODEL)) for _ in range(2)]
        await some_turns_of_the_loop()
        assert gate.is_full(MODEL)
        assert not gate.is_full(OTHER)
        told = await gate.enter(MODEL)
        assert isinstance(told, NoPass)
        assert told.wait_s >= 1.0
        turnstile.turns = [0.0] * 3
        await asyncio.gather(*calls)
        assert isinstance(await gate.enter(OTHER), Pass)

    playing(play, room=2)


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
def test_no_answer_is_too_long_for_who_counts_it_as_it_comes(provider: str) -> None:
    """Its longest may be above the limit of a minute, as on a small account; it counts as less, and goes out."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.largest, turnstile.turns = 8_000, [0.0]
        demand = Demand(input_tokens=10, output_tokens=16_384)
        given = await gate.enter(Target(provider=provider, model="m"), demand)
        assert isinstance(given, Pass)
        assert given.demand == Demand(input_tokens=10, output_tokens=4_096)

    playing(play)


@pytest.mark.parametrize(
    ("provider", "demand"),
    [
        ("openai", Demand(input_tokens=10, output_tokens=16_384)),
        ("anthropic", Demand(input_tokens=16_384, output_tokens=16_384)),
    ],
)
def test_what_is_counted_beforehand_may_be_too_long(provider: str, demand: Demand) -> None:
    """The answer where the provider counts its limit, and the input always."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.largest, turnstile.turns = 8_000, [0.0]
        assert await gate.enter(Target(provider=provider, model="m"), demand) == NoPass(never=True)

    playing(play)


def test_what_never_fits_is_told_so_and_holds_up_nobody() -> None:
    """A call larger than the limit goes out of the line."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.largest = 100
        large = asyncio.create_task(gate.enter(MODEL, Demand(input_tokens=101)))
        small = asyncio.create_task(gate.enter(MODEL, Demand(input_tokens=1)))
        await some_turns_of_the_loop()
        turnstile.turns = [0.0]
        assert await large == NoPass(never=True)
        assert isinstance(await small, Pass)

    playing(play)


def test_who_gives_up_waiting_takes_nobodys_turn() -> None:
    """A call that is cancelled in line is passed over; and what it was just given is given back."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        first, second, third = (asyncio.create_task(gate.enter(MODEL)) for _ in range(3))
        await some_turns_of_the_loop()
        first.cancel()
        second.cancel()
        await some_turns_of_the_loop()
        turnstile.turns = [0.0]
        assert isinstance(await third, Pass)
        assert first.cancelled()
        assert second.cancelled()
        turnstile.turns = [0.0]
        assert isinstance(await gate.enter(MODEL), Pass)

    playing(play)


@pytest.mark.parametrize(("late_s", "passes"), [(0.0, 1), (LATE_S / 2, 1), (2 * LATE_S, 2)])
def test_who_is_late_waits_for_another_moment(late_s: float, passes: int) -> None:
    """The pace has gone on without it; its slot is given back."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [0.0, 0.0]
        given = await gate.enter(MODEL)
        assert isinstance(given, Pass)
        clock.now_s += late_s
        started = await gate.start(given)
        assert len(turnstile.asked) == passes
        assert (started.permit == given.permit) is (passes == 1)
        assert [settled.permit for settled in turnstile.settled] == [given.permit] * (passes - 1)

    playing(play)


def test_keys_take_turns_and_stand_in_for_each_other() -> None:
    """Each key has limits of its own: where one lets nobody through, another is asked for at once."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [0.0] * 8
        used = [given.account for _ in range(4) if isinstance(given := await gate.enter(MODEL), Pass)]
        assert sorted(used) == [0, 0, 1, 1]
        turnstile.closed_keys = {"key-a"}
        used = [given.account for _ in range(4) if isinstance(given := await gate.enter(MODEL), Pass)]
        assert used == [1] * 4

    playing(play, keys=("key-a", "key-b"))


def test_a_key_that_was_turned_away_rests() -> None:
    """Calls go out with the others meanwhile, and with it again when it has rested; the last key has no stand-in."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [0.0] * 12
        given = await gate.enter(MODEL)
        assert isinstance(given, Pass)
        assert gate.rest(given), "the other key may be used"
        used = {given.account for _ in range(4) if isinstance(given := await gate.enter(MODEL), Pass)}
        assert len(used) == 1
        clock.now_s += REST_S + 1
        used = {given.account for _ in range(4) if isinstance(given := await gate.enter(MODEL), Pass)}
        assert used == {0, 1}
        both = [await gate.enter(MODEL) for _ in range(2)]
        assert [gate.rest(given) for given in both if isinstance(given, Pass)] == [True, False]

    playing(play, keys=("key-a", "key-b"))


def test_limits_of_a_provider_and_of_its_model_count_together() -> None:
    """The widest first; a provider without limits of its own has no bucket."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [0.0] * 2
        seen: list[tuple[Bucket, ...]] = []
        answer = turnstile._answer
        turnstile._answer = lambda ask: (seen.append(ask.buckets), answer(ask))[1]  # type: ignore[method-assign]
        gate.set_limits({("openai", "m"): Limits(requests=10)})
        await gate.enter(MODEL)
        gate.set_limits({("openai", ""): Limits(requests=90), ("openai", "m"): Limits(requests=10)})
        await gate.enter(MODEL)
        assert [[(bucket.name, bucket.limits.requests) for bucket in buckets] for buckets in seen] == [
            [("openai/k/m", 10)],
            [("openai/k", 90), ("openai/k/m", 10)],
        ]

    playing(play)


def test_slots_of_calls_that_are_out_are_kept() -> None:
    """And no longer than that."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [0.0] * 2
        one, other = await gate.enter(MODEL), await gate.enter(MODEL)
        assert isinstance(one, Pass)
        assert isinstance(other, Pass)
        await gate.leave(one, ANSWERED)
        assert list(gate._out) == [other.permit]
        await gate.leave(other, THROTTLED)
        assert [(settled.permit, settled.throttled) for settled in turnstile.settled] == [
            (one.permit, False),
            (other.permit, True),
        ]

    playing(play)


@pytest.mark.parametrize(
    ("reply", "limits"), [(TOLD, Limits(tokens=60_000)), (THROTTLED, Limits()), (ANSWERED, Limits())]
)
def test_what_an_answer_tells_counts_from_then_on(reply: Reply, limits: Limits) -> None:
    """Nothing is asked for while nothing is limited; headers with limits, or a refusal, change that."""

    async def run() -> None:
        clock = Clock()
        limiter = MemoryLimiter(clock)
        gate = Gate(limiter, accounts={"openai": ["k"]}, room=8, clock=clock)
        given = await gate.enter(MODEL)
        assert isinstance(given, Pass)
        assert given.permit == ""
        assert not gate.counts_tokens(MODEL)
        await gate.leave(given, reply)
        is_limited = bool(limits) or reply.verdict is Verdict.THROTTLED
        bucket = Bucket(name="openai/k/m")
        assert limiter.lets_through([bucket]) is not is_limited
        assert gate.counts_tokens(MODEL) is bool(limits)
        await gate.close()

    asyncio.run(run())


def test_a_key_that_is_closed_for_long_does_not_keep_the_others_waiting() -> None:
    """Whoever waits is asked for again as soon as any key may have room, whichever was asked last."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        for key in ("key-a", "key-b"):
            turnstile.closed_keys = {key}
            turnstile.closed_for_s = 600.0
            turnstile.turns = []
            waiting = asyncio.create_task(gate.enter(MODEL))
            await some_turns_of_the_loop()
            turnstile.turns = [0.0] * 2
            assert isinstance(await asyncio.wait_for(waiting, 1.0), Pass)
            await gate.enter(OTHER)  # so that it is the other key's turn

    playing(play, keys=("key-a", "key-b"))


def test_a_limit_that_is_raised_counts_at_once() -> None:
    """Whoever waits under the old limit is asked for anew, however long that would have taken."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.wait_s = 60.0
        waiting = asyncio.create_task(gate.enter(MODEL))
        await some_turns_of_the_loop()
        turnstile.turns = [0.0]
        gate.set_limits({("openai", "m"): Limits(requests=6_000)})
        assert isinstance(await asyncio.wait_for(waiting, 1.0), Pass)

    playing(play)


def test_who_goes_away_with_a_pass_leaves_its_slot() -> None:
    """Cancelled after it was let through, before it has heard of it: nobody will ever settle that pass."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        waiting = asyncio.create_task(gate.enter(MODEL))
        await some_turns_of_the_loop()
        turnstile.turns = [0.0]
        for _ in range(100_000):
            await asyncio.sleep(0)
            if gate._out:
                break
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(turnstile.settled) == 1
        assert not gate._out

    playing(play)


def test_who_goes_away_while_asking_for_all_stands_in_nobodys_way() -> None:
    """Others are asked for all the same, and no pass goes to it."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.answering = asyncio.Event()
        first, second = (asyncio.create_task(gate.enter(MODEL)) for _ in range(2))
        await some_turns_of_the_loop()
        first.cancel()
        await some_turns_of_the_loop()
        turnstile.turns = [0.0, 0.0]
        turnstile.answering.set()
        assert isinstance(given := await second, Pass)
        await some_turns_of_the_loop()
        assert list(gate._out) == [given.permit]

    playing(play)


def test_a_call_that_cannot_but_be_late_is_sent() -> None:
    """Where every answer of the limiter takes longer than one may be late, the second moment is taken as it is."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [-2 * LATE_S] * 9
        given = await gate.enter(MODEL)
        assert isinstance(given, Pass)
        assert isinstance(await gate.start(given), Pass)
        assert len(turnstile.asked) == 2

    playing(play)


def test_who_is_late_and_would_wait_for_long_comes_back() -> None:
    """The call is written down as sent: it must not hang about while its lease, or its batch, comes to an end."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [0.0]
        turnstile.wait_s = 2 * LONGEST_AGAIN_S
        given = await gate.enter(MODEL)
        assert isinstance(given, Pass)
        clock.now_s += 2 * LATE_S
        assert await gate.start(given) == NoPass(wait_s=2 * LONGEST_AGAIN_S)
        assert not gate._out

    playing(play)


def test_who_goes_away_before_its_moment_leaves_its_slot() -> None:
    """Cancelled while it waits to be sent."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [60.0]
        given = await gate.enter(MODEL)
        assert isinstance(given, Pass)
        starting = asyncio.create_task(gate.start(given))
        await some_turns_of_the_loop()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert [settled.permit for settled in turnstile.settled] == [given.permit]

    playing(play)


def test_urgent_calls_go_before_others_that_wait() -> None:
    """They need not wait for the turns of all who came before, nor for a place in a line that those have filled."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        left: list[str] = []

        async def call(name: str, *, is_urgent: bool = False) -> None:
            assert isinstance(await gate.enter(MODEL, is_urgent=is_urgent), Pass)
            left.append(name)

        calls = [asyncio.create_task(call(f"low-{nth}")) for nth in range(2)]
        await some_turns_of_the_loop()
        assert gate.is_full(MODEL)
        assert not gate.is_full(MODEL, is_urgent=True)
        calls += [asyncio.create_task(call(f"high-{nth}", is_urgent=True)) for nth in range(2)]
        await some_turns_of_the_loop()
        assert gate.is_full(MODEL, is_urgent=True)
        turnstile.turns = [0.0] * 4
        await asyncio.gather(*calls)
        assert left == ["high-0", "high-1", "low-0", "low-1"]

    playing(play, room=2)


def test_urgent_calls_without_end_leave_some_turns_to_others() -> None:
    """One in ten goes to whoever else has waited longest."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        left: list[str] = []

        async def call(name: str, *, is_urgent: bool) -> None:
            while len(left) < 40:
                await gate.enter(MODEL, is_urgent=is_urgent)
                left.append(name)

        calls = [asyncio.create_task(call("high", is_urgent=True)) for _ in range(4)]
        calls.append(asyncio.create_task(call("low", is_urgent=False)))
        for _ in range(50):
            await some_turns_of_the_loop()
            turnstile.turns = [0.0]
        await asyncio.gather(*calls)
        assert 3 <= left.count("low") <= 6

    playing(play, room=8)


@pytest.mark.parametrize("is_sent", [True, False])
def test_a_slot_that_comes_back_is_given_away_at_once(is_sent: bool) -> None:
    """Nobody waits out what was a guess: a call that has ended, or is not made after all, makes room now."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns, turnstile.wait_s = [0.0], 5.0
        given = await gate.enter(MODEL)
        assert isinstance(given, Pass)
        waiting = asyncio.create_task(gate.enter(MODEL))
        await some_turns_of_the_loop()
        turnstile.turns = [0.0]
        await (gate.leave(given, ANSWERED) if is_sent else gate.give_back(given))
        assert isinstance(await asyncio.wait_for(waiting, 1.0), Pass)

    playing(play)


def test_calls_that_were_out_together_make_a_key_rest_once() -> None:
    """All of them are turned away, and that says no more than the first of them did; the next time it rests longer."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [0.0]
        given = await gate.enter(MODEL)
        assert isinstance(given, Pass)
        for _ in range(5):
            gate.rest(given)
        clock.now_s += REST_S + 1
        assert gate.has_other_key(replace(given, account=1 - given.account))
        gate.rest(given)
        clock.now_s += REST_S + 1
        assert not gate.has_other_key(replace(given, account=1 - given.account))

    playing(play, keys=("key-a", "key-b"))


def test_slots_are_renewed_as_long_as_calls_are_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else their leases would end before the calls do, and others would be let through beside them."""
    monkeypatch.setattr(gates, "RENEW_EVERY_S", 0.001)

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [0.0]
        given = await gate.enter(MODEL)
        assert isinstance(given, Pass)
        renewing = asyncio.create_task(gate.renew_on())
        await some_turns_of_the_loop()
        assert set(turnstile.renewed) == {given.permit}
        await gate.leave(given, ANSWERED)
        await asyncio.sleep(0)
        turnstile.renewed.clear()
        await some_turns_of_the_loop()
        assert turnstile.renewed == []
        renewing.cancel()

    playing(play)


def test_the_wait_that_a_provider_asks_for_reaches_the_limiter() -> None:
    """With the refusal; a wait that comes with anything else is not the limits'."""

    async def play(gate: Gate, turnstile: Turnstile, clock: Clock) -> None:
        turnstile.turns = [0.0] * 2
        for reply in (THROTTLED, FAULTY):
            given = await gate.enter(MODEL)
            assert isinstance(given, Pass)
            await gate.leave(given, replace(reply, retry_after_s=7.0))
        assert [settled.retry_after_s for settled in turnstile.settled] == [7.0, None]

    playing(play)
