"""The limiter over many virtual minutes, judged by exact sliding windows."""

import asyncio
import random

import pytest

from batchmill.limits.memory import MemoryLimiter
from batchmill.limits.model import Ask, Bucket, Demand, Limits
from tests.support.traffic import (
    Draw,
    Event,
    Left,
    Traffic,
    VirtualClock,
    Worker,
    most_in,
    part_used,
    requests,
    tokens,
)

RPM, TPM = 600, 60_000
MODEL = Bucket(name="account/model", limits=Limits(requests=RPM, tokens=TPM))

MIXES: dict[str, Draw] = {
    "even": lambda chance: chance.randint(20, 2_000),
    "mostly small": lambda chance: chance.choice([20] * 9 + [2_000]),
    "many sizes": lambda chance: round(20 * 100 ** chance.random()),
    "small": lambda chance: chance.randint(20, 150),
}


def traffic(mix: str, *, seed: int = 1, workers: int = 1, ready: int = 12) -> Traffic:
    clock = VirtualClock()
    crew = [Worker(buckets=(MODEL,), tokens=MIXES[mix], ready=ready) for _ in range(workers)]
    return Traffic(limiter=MemoryLimiter(clock), clock=clock, workers=crew, chance=random.Random(seed))


def require_within_limits(left: list[Left]) -> None:
    """No minute and no second holds more than the limit leaves, of which the pace keeps a little more."""
    assert most_in(60, requests(left)) <= 0.99 * RPM
    assert most_in(60, tokens(left)) <= 0.99 * TPM
    assert most_in(1, requests(left)) <= RPM / 60


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mix", MIXES)
def test_nearly_all_of_the_tighter_limit_is_used(mix: str, seed: int) -> None:
    """Under load at least 97 % of it over three minutes from a cold start, and never more than there is."""
    run = traffic(mix, seed=seed, ready=30)
    begin_s = run.clock.now_s
    run.run(180)
    require_within_limits(run.left)
    used = (
        part_used(requests(run.left), RPM, begin_s, 180),
        part_used(tokens(run.left), TPM, begin_s, 180),
    )
    assert max(used) >= 0.97


@pytest.mark.parametrize("workers", [2, 7])
def test_many_who_ask_share_one_rate(workers: int) -> None:
    """However many ask, together they use as much as one would, and no more."""
    run = traffic("even", workers=workers, ready=5)
    begin_s = run.clock.now_s
    run.run(180)
    require_within_limits(run.left)
    assert part_used(tokens(run.left), TPM, begin_s, 180) >= 0.97


@pytest.mark.parametrize("seed", range(5))
def test_jitter_of_twenty_milliseconds_trips_no_second(seed: int) -> None:
    """Calls that arrive up to 20 ms late are still no more than ten in any second."""
    run = traffic("small", seed=seed)
    run.run(60)
    chance = random.Random(seed)
    arrived = [(call.at_s + chance.uniform(0, 0.02), 1) for call in run.left]
    assert len(arrived) > 500
    assert most_in(1, arrived) <= 10


@pytest.mark.parametrize("seed", range(24))
def test_a_lost_state_leads_to_no_violation(seed: int) -> None:
    """Whenever all is forgotten in mid-run, no minute holds too much, before it and after it together."""
    mix = list(MIXES)[seed % len(MIXES)]
    run = traffic(mix, seed=seed)
    at_s = random.Random(seed).uniform(1, 100)
    assert isinstance(run.limiter, MemoryLimiter)
    run.run(170, [Event(at_s=at_s, act=run.limiter.forget)])
    assert most_in(60, requests(run.left)) <= RPM
    assert most_in(60, tokens(run.left)) <= TPM
    assert most_in(1, requests(run.left)) <= RPM / 60


def test_after_a_loss_the_pace_goes_on_soon() -> None:
    """Calls leave again within a few seconds."""
    run = traffic("even")
    assert isinstance(run.limiter, MemoryLimiter)
    lost_s = run.clock.now_s + 60
    run.run(90, [Event(at_s=60, act=run.limiter.forget)])
    assert min(call.at_s for call in run.left if call.at_s > lost_s + 1) < lost_s + 8


def test_a_cold_start_begins_within_two_seconds() -> None:
    """The first call of a limit of many a minute need not wait for long."""
    run = traffic("small")
    begin_s = run.clock.now_s
    run.run(10)
    assert run.left[0].at_s < begin_s + 2


def test_large_calls_do_not_starve() -> None:
    """Among many small ones a call of a thirtieth of the limit leaves within twenty seconds, every time."""
    clock = VirtualClock()
    small = Worker(buckets=(MODEL,), tokens=lambda chance: 200, ready=15, poll_s=0.1)
    large = Worker(buckets=(MODEL,), tokens=lambda chance: 2_000, ready=1)
    run = Traffic(limiter=MemoryLimiter(clock), clock=clock, workers=[small, small, large])
    run.run(240)
    waits_s = [call.at_s - call.asked_s for call in run.left if call.tokens == 2_000]
    assert len(waits_s) > 10
    assert max(waits_s) < 20


def test_a_slow_model_does_not_hold_up_its_account() -> None:
    """While calls of one model wait for its own limit, those of another use what the account has left."""
    account = Bucket(name="account", limits=Limits(requests=600))
    slow = Bucket(name="account/slow", limits=Limits(requests=60))
    fast = Bucket(name="account/fast")
    clock = VirtualClock()
    workers = [
        Worker(buckets=(account, bucket), tokens=lambda chance: 10, ready=12, poll_s=0.2)
        for bucket in (slow, fast)
    ]
    run = Traffic(limiter=MemoryLimiter(clock), clock=clock, workers=workers)
    begin_s = clock.now_s
    run.run(180)
    assert part_used(requests(run.of(slow)), 60, begin_s, 180) >= 0.8
    assert part_used(requests(run.left), 600, begin_s, 180) >= 0.96
    assert most_in(1, requests(run.left)) <= 10


def test_state_does_not_grow_with_the_rate() -> None:
    """Twenty thousand calls a minute leave no more behind than some hundreds do."""
    clock = VirtualClock()
    bucket = Bucket(name="fast", limits=Limits(requests=20_000))
    limiter = MemoryLimiter(clock)
    worker = Worker(buckets=(bucket,), tokens=lambda chance: 1, ready=100)
    run = Traffic(limiter=limiter, clock=clock, workers=[worker])
    run.run(70)
    assert len(run.left) > 20_000
    assert len(limiter._states["fast"].window.at_us) < 400


def test_starts_are_at_most_a_second_ahead() -> None:
    """A permit is for now or for within a second, whatever is asked at once."""
    clock = VirtualClock()
    limiter = MemoryLimiter(clock)
    asks = [Ask(permit=str(n), buckets=(MODEL,), demand=Demand()) for n in range(100)]
    asyncio.run(limiter.admit(asks[:1]))
    clock.now_s += 5
    answers = asyncio.run(limiter.admit(asks))
    granted = [answer for answer in answers if answer.granted]
    assert 9 <= len(granted) <= 11
    assert all(0 <= answer.starts_in_s <= 1 for answer in granted)
    assert all(answer.retry_after_s > 0 for answer in answers if not answer.granted)
