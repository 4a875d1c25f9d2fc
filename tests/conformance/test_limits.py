"""What every limiter does, in memory and on a real Valkey, at moments that the test sets."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import redis
from redis.asyncio import Redis

from batchmill.limits.memory import MemoryLimiter
from batchmill.limits.model import (
    LEASE_S,
    RENEW_EVERY_S,
    Admission,
    Ask,
    Bucket,
    Demand,
    Dimension,
    Limiter,
    Limits,
    Quota,
    Settlement,
)
from batchmill.limits.valkey import ValkeyLimiter
from tests.support.traffic import Event, Traffic, VirtualClock, Worker, most_in, requests, tokens

T = TypeVar("T")
ACCOUNT = "account"
SIXTY = Bucket(name="account/sixty", limits=Limits(requests=60))
INTERVAL_S = 60 / (60 * 0.98)


class Bench:
    """A limiter under test, its clock, and an event loop that outlives each step."""

    def __init__(self, make: Callable[[VirtualClock], Limiter], clock: VirtualClock) -> None:
        self.clock = clock
        self._runner = asyncio.Runner()
        self.limiter = make(clock)
        self._numbers = 0

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        """Wait for something."""
        return self._runner.run(step)

    def ask(self, *buckets: Bucket, permit: str = "", **tokens: int) -> Admission:
        """Ask for one call."""
        return self.ask_all([self.make_ask(*buckets, permit=permit, **tokens)])[0]

    def make_ask(self, *buckets: Bucket, permit: str = "", **tokens: int) -> Ask:
        """An ask, by a name of its own unless one is given."""
        self._numbers += 1
        return Ask(permit=permit or f"p{self._numbers}", buckets=buckets, demand=Demand(**tokens))

    def ask_all(self, asks: list[Ask]) -> list[Admission]:
        """Ask for several."""
        return self.run(self.limiter.admit(asks))

    def settle(self, permit: str, **facts: Any) -> None:
        """Settle one call."""
        self.run(self.limiter.settle([Settlement(permit=permit, **facts)]))

    def warm(self, *buckets: Bucket) -> None:
        """Let a state be made, and its first minute go by."""
        self.run(self.limiter.admit([self.make_ask(*buckets)]))
        self.clock.now_s += 70

    def close(self) -> None:
        """Let go of everything."""
        self.run(self.limiter.close())
        self._runner.close()


@pytest.fixture(params=["memory", "valkey"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def bench(kind: str, request: pytest.FixtureRequest) -> Iterator[Bench]:
    def make(clock: VirtualClock) -> Limiter:
        if kind == "memory":
            return MemoryLimiter(clock)
        client = Redis.from_url(request.getfixturevalue("valkey_url"))
        return ValkeyLimiter(client, clock, clock.now_us)

    made = Bench(make, VirtualClock())
    if isinstance(made.limiter, ValkeyLimiter):
        made.run(_flush(made.limiter._client))
    yield made
    made.close()


async def _flush(client: Redis) -> None:
    await client.flushall()


def test_without_limits_calls_leave_at_once(bench: Bench) -> None:
    """What nobody limits is let through, now, any number of it."""
    answers = bench.ask_all([bench.make_ask(Bucket(name="free"), input_tokens=10**6) for _ in range(50)])
    assert all(answer.granted and answer.starts_in_s == 0 for answer in answers)


def test_a_cold_bucket_is_taken_as_used_up(bench: Bench) -> None:
    """The first call waits, as one before may have left in this very moment; then the pace goes on."""
    first = bench.ask(SIXTY)
    assert not first.granted
    assert 0 < first.retry_after_s < 2
    bench.clock.now_s += first.retry_after_s
    assert bench.ask(SIXTY).granted


def test_requests_are_spaced(bench: Bench) -> None:
    """Each starts an interval after the one before, and what is beyond a second waits just until it would not be."""
    bench.warm(SIXTY)
    first, second = bench.ask(SIXTY), bench.ask(SIXTY)
    assert first.granted
    assert first.starts_in_s == 0
    assert not second.granted
    assert second.retry_after_s == pytest.approx(INTERVAL_S - 1, abs=2e-6)
    bench.clock.now_s += second.retry_after_s
    third = bench.ask(SIXTY)
    assert third.granted
    assert third.starts_in_s == pytest.approx(1, abs=2e-6)


def test_a_microsecond_early_is_too_early(bench: Bench) -> None:
    """What is told to wait is refused just before its time."""
    bench.warm(SIXTY)
    bench.ask(SIXTY)
    wait_s = bench.ask(SIXTY).retry_after_s
    bench.clock.now_s += wait_s - 5e-6
    assert not bench.ask(SIXTY).granted


def test_the_start_is_told_by_the_local_clock(bench: Bench) -> None:
    """A start is a moment of the event loop's clock, as far ahead as is said."""
    bucket = Bucket(name="quick", limits=Limits(requests=600))
    bench.warm(bucket)
    answers = bench.ask_all([bench.make_ask(bucket) for _ in range(3)])
    for answer in answers:
        assert answer.starts_at_s == pytest.approx(bench.clock.now_s + answer.starts_in_s, abs=2e-6)
    assert answers[2].starts_in_s == pytest.approx(2 / 9.8, abs=3e-6)


def test_what_waits_in_a_list_is_told_its_turn(bench: Bench) -> None:
    """Of one list each is told when it would go after those before it."""
    bench.warm(SIXTY)
    answers = bench.ask_all([bench.make_ask(SIXTY) for _ in range(5)])
    waits_s = [answer.retry_after_s for answer in answers if not answer.granted]
    assert waits_s == pytest.approx([INTERVAL_S * n - 1 for n in range(1, 5)], abs=1e-5)


def test_all_buckets_or_none(bench: Bench) -> None:
    """A call that one bucket refuses is counted in none of the others."""
    wide = Bucket(name=ACCOUNT, limits=Limits(requests=120))
    bench.warm(wide, SIXTY)
    assert bench.ask(wide, SIXTY).granted
    assert not bench.ask(wide, SIXTY).granted
    other = bench.ask(wide)
    assert other.granted
    assert other.starts_in_s == pytest.approx(INTERVAL_S / 2, abs=2e-6)


@pytest.mark.parametrize("dimension", ["tokens", "input_tokens", "output_tokens"])
def test_tokens_of_each_kind_are_limited(bench: Bench, dimension: str) -> None:
    """No minute lets more of them through than its limit, here of 1,000."""
    bucket = Bucket(name="worded", limits=Limits(**{dimension: 1_000}))
    bench.warm(bucket)
    begin_s, through = bench.clock.now_s, 0
    while bench.clock.now_s < begin_s + 59:
        answer = bench.ask(bucket, input_tokens=100, output_tokens=100)
        through += answer.granted
        bench.clock.now_s += answer.retry_after_s if not answer.granted else 0.0
    assert through == (4 if dimension == "tokens" else 9)


def test_larger_than_the_limit_is_never(bench: Bench) -> None:
    """No waiting helps a call of more tokens than the limit; one of just as many goes when nothing else counts."""
    bucket = Bucket(name="narrow", limits=Limits(tokens=1_000))
    bench.warm(bucket)
    too_large = bench.ask(bucket, input_tokens=1_001)
    assert (too_large.granted, too_large.never, too_large.retry_after_s) == (False, True, 0.0)
    assert bench.ask(bucket, input_tokens=1_000).granted


def test_nothing_smaller_passes_the_head_of_the_line(bench: Bench) -> None:
    """A large call that waits for room gets it, though smaller ones ask again and again."""
    bucket = Bucket(name="mixed", limits=Limits(tokens=6_000))
    bench.warm(bucket)
    for _ in range(5):
        bench.clock.now_s += 10
        assert bench.ask(bucket, input_tokens=1_000).granted
    large = bench.ask(bucket, input_tokens=3_000)
    assert not large.granted
    turn_s = bench.clock.now_s + large.retry_after_s
    while bench.clock.now_s + 0.5 < turn_s:
        bench.ask(bucket, input_tokens=500)
        bench.clock.now_s += 0.5
    bench.clock.now_s = turn_s
    assert bench.ask(bucket, input_tokens=3_000).granted


def test_a_head_that_does_not_come_loses_its_turn(bench: Bench) -> None:
    """Half a second after its turn the line moves on without it."""
    bucket = Bucket(name="mixed", limits=Limits(tokens=6_000))
    bench.warm(bucket)
    for _ in range(5):
        bench.clock.now_s += 10
        bench.ask(bucket, input_tokens=1_000)
    large = bench.ask(bucket, input_tokens=3_000)
    bench.clock.now_s += large.retry_after_s + 1.6
    assert bench.ask(bucket, input_tokens=500).granted


def test_calls_at_once_are_bounded(bench: Bench) -> None:
    """Beyond the slots there are nobody is let through, until one is given back."""
    bucket = Bucket(name="slots", limits=Limits(concurrency=2))
    assert bench.ask(bucket, permit="a").granted
    assert bench.ask(bucket, permit="b").granted
    third = bench.ask(bucket, permit="c")
    assert (third.granted, third.never) == (False, False)
    assert third.retry_after_s > 0
    bench.settle("a")
    assert bench.ask(bucket, permit="c").granted


def test_asking_again_takes_no_second_slot(bench: Bench) -> None:
    """Who missed a start asks anew by the same name, and has one slot."""
    bucket = Bucket(name="slots", limits=Limits(concurrency=1))
    assert bench.ask(bucket, permit="a").granted
    assert bench.ask(bucket, permit="a").granted
    assert not bench.ask(bucket, permit="b").granted
    bench.settle("a")
    assert bench.ask(bucket, permit="b").granted


def test_a_dead_holder_s_slots_come_back(bench: Bench) -> None:
    """What nobody renews is free after its lease; what is renewed is not."""
    bucket = Bucket(name="slots", limits=Limits(concurrency=2))
    bench.ask(bucket, permit="dead")
    bench.ask(bucket, permit="alive")
    bench.clock.now_s += LEASE_S - 1
    bench.run(bench.limiter.renew(["alive"]))
    assert not bench.ask(bucket, permit="c").granted
    bench.clock.now_s += 1.1
    assert bench.ask(bucket, permit="c").granted
    assert not bench.ask(bucket, permit="d").granted


def test_tokens_not_used_are_given_back(bench: Bench) -> None:
    """Once the provider's count is known, room is made for what was planned and did not come."""
    bucket = Bucket(name="worded", limits=Limits(tokens=1_000))
    bench.warm(bucket)
    assert bench.ask(bucket, permit="a", input_tokens=900).granted
    assert bench.ask(bucket, input_tokens=500).retry_after_s > 50
    bench.settle("a", actual=Demand(input_tokens=100))
    bench.clock.now_s += 10
    assert bench.ask(bucket, input_tokens=500).granted


def test_tokens_beyond_the_plan_are_counted(bench: Bench) -> None:
    """A call that came to more than was planned leaves so much less room."""
    bucket = Bucket(name="worded", limits=Limits(tokens=1_000))
    bench.warm(bucket)
    bench.ask(bucket, permit="a", input_tokens=100)
    bench.settle("a", actual=Demand(input_tokens=100, output_tokens=700))
    bench.clock.now_s += 58
    assert not bench.ask(bucket, input_tokens=300).granted
    bench.clock.now_s += 3
    assert bench.ask(bucket, input_tokens=300).granted


def test_settling_twice_changes_nothing(bench: Bench) -> None:
    """The second time the permit is not out."""
    bucket = Bucket(name="slots", limits=Limits(concurrency=1))
    bench.ask(bucket, permit="a")
    bench.settle("a")
    bench.ask(bucket, permit="b")
    bench.settle("a")
    assert not bench.ask(bucket, permit="c").granted


@pytest.mark.parametrize("limits", [Limits(), Limits(requests=6_000)])
def test_a_refusal_closes_the_bucket(bench: Bench, limits: Limits) -> None:
    """After a 429 nothing leaves until the provider wants to hear from us, whether we know its limit or not."""
    bucket = Bucket(name="refusing", limits=limits)
    bench.warm(bucket)
    assert bench.ask(bucket, permit="a").granted
    bench.settle("a", throttled=True, retry_after_s=7.0)
    refused = bench.ask(bucket)
    assert not refused.granted
    assert refused.retry_after_s == pytest.approx(6.0, abs=1e-5)
    bench.clock.now_s += 7.0
    assert bench.ask(bucket).granted


def spacing_s(bench: Bench, bucket: Bucket) -> float:
    """How far apart two calls start now."""
    answers = bench.ask_all([bench.make_ask(bucket), bench.make_ask(bucket)])
    return answers[1].starts_in_s - answers[0].starts_in_s


def test_a_refusal_halves_the_rate_which_comes_back(bench: Bench) -> None:
    """Half the rate, and a twentieth of the full one more every five seconds."""
    bucket = Bucket(name="refusing", limits=Limits(requests=6_000))
    full_s = 0.01 / 0.98
    bench.warm(bucket)
    bench.ask(bucket, permit="a")
    bench.settle("a", throttled=True, retry_after_s=0.0)
    bench.clock.now_s += 1
    assert spacing_s(bench, bucket) == pytest.approx(2 * full_s, abs=2e-6)
    bench.clock.now_s += 5
    assert spacing_s(bench, bucket) == pytest.approx(full_s / 0.55, abs=2e-6)
    bench.clock.now_s += 50
    assert spacing_s(bench, bucket) == pytest.approx(full_s, abs=2e-6)


def test_refusals_of_one_second_count_once(bench: Bench) -> None:
    """Ten calls refused together halve the rate once; so does one sent before it was halved and refused later."""
    bucket = Bucket(name="refusing", limits=Limits(requests=6_000))
    bench.warm(bucket)
    bench.ask_all([bench.make_ask(bucket, permit=f"a{n}") for n in range(10)])
    bench.clock.now_s += 1
    for n in range(9):
        bench.settle(f"a{n}", throttled=True, retry_after_s=0.0)
        bench.clock.now_s += 0.05
    bench.clock.now_s += 2
    bench.settle("a9", throttled=True, retry_after_s=0.0)
    assert spacing_s(bench, bucket) == pytest.approx(0.02 / 0.98, abs=2e-6)


def test_the_bucket_that_refused_is_closed_alone(bench: Bench) -> None:
    """The narrowest is meant unless another is named."""
    wide, narrow, other = Bucket(name=ACCOUNT), Bucket(name="account/a"), Bucket(name="account/b")
    bench.ask(wide, narrow, permit="a")
    bench.ask(wide, other, permit="b")
    bench.settle("a", throttled=True, retry_after_s=5.0)
    assert not bench.ask(wide, narrow).granted
    assert bench.ask(wide, other).granted
    bench.settle("b", throttled=True, retry_after_s=9.0, throttled_bucket=ACCOUNT)
    assert bench.ask(wide, other).retry_after_s == pytest.approx(8.0, abs=1e-5)


def test_a_limit_is_learned(bench: Bench) -> None:
    """What the provider's headers say holds from then on, where the owner set nothing."""
    bucket = Bucket(name="unknown")
    bench.ask(bucket, permit="a")
    bench.settle("a", quotas=(Quota(dimension=Dimension.REQUESTS, limit=60, remaining=59),))
    bench.clock.now_s += 70
    assert bench.ask(bucket).granted
    assert bench.ask(bucket).retry_after_s == pytest.approx(INTERVAL_S - 1, abs=2e-6)


def test_a_learned_number_of_slots_holds(bench: Bench) -> None:
    """Concurrency can be learned too."""
    bucket = Bucket(name="unknown")
    bench.ask(bucket, permit="a")
    bench.settle("a", quotas=(Quota(dimension=Dimension.CONCURRENCY, limit=1),))
    assert bench.ask(bucket).granted
    assert not bench.ask(bucket).granted


def test_the_owner_s_limit_wins(bench: Bench) -> None:
    """However much more the provider would let through."""
    bench.warm(SIXTY)
    bench.ask(SIXTY, permit="a")
    bench.settle("a", quotas=(Quota(dimension=Dimension.REQUESTS, limit=6_000, remaining=5_999),))
    assert bench.ask(SIXTY).retry_after_s == pytest.approx(INTERVAL_S - 1, abs=2e-6)


def test_calls_of_others_are_counted(bench: Bench) -> None:
    """When the provider has counted more than we have, so much less is left for us, for a minute."""
    bucket = Bucket(name="shared", limits=Limits(tokens=10_000))
    bench.warm(bucket)
    bench.ask(bucket, permit="a", input_tokens=100)
    bench.settle("a", quotas=(Quota(dimension=Dimension.TOKENS, limit=10_000, remaining=900),))
    bench.clock.now_s += 30
    assert not bench.ask(bucket, input_tokens=2_000).granted
    assert bench.ask(bucket, input_tokens=500).granted
    bench.clock.now_s += 31
    assert bench.ask(bucket, input_tokens=2_000).granted


def test_what_is_ours_is_not_taken_for_others(bench: Bench) -> None:
    """When the provider counts what we count, nothing is taken away."""
    bucket = Bucket(name="ours", limits=Limits(requests=600))
    bench.warm(bucket)
    answers = bench.ask_all([bench.make_ask(bucket, permit=f"a{n}") for n in range(9)])
    assert all(answer.granted for answer in answers)
    for n in range(9):
        bench.settle(f"a{n}", quotas=(Quota(dimension=Dimension.REQUESTS, limit=600, remaining=599 - n),))
    bench.clock.now_s += 1
    assert bench.ask(bucket).starts_in_s == 0


def test_others_are_forgotten_when_the_provider_forgets_them(bench: Bench) -> None:
    """Their calls count no longer than its headers say."""
    bucket = Bucket(name="shared", limits=Limits(tokens=10_000))
    bench.warm(bucket)
    bench.ask(bucket, permit="a", input_tokens=100)
    quota = Quota(dimension=Dimension.TOKENS, limit=10_000, remaining=0, reset_s=5.0)
    bench.settle("a", quotas=(quota,))
    assert not bench.ask(bucket, input_tokens=2_000).granted
    bench.clock.now_s += 5.1
    assert bench.ask(bucket, input_tokens=2_000).granted


@pytest.mark.parametrize("kind", ["valkey"], indirect=True)
class TestOnValkey:
    """What only a server has."""

    def test_a_flush_forgets_no_learned_limit(self, bench: Bench) -> None:
        """The limit that the provider named still holds, and the bucket begins as used up."""
        bucket = Bucket(name="unknown")
        bench.ask(bucket, permit="a")
        bench.settle("a", quotas=(Quota(dimension=Dimension.REQUESTS, limit=60, remaining=59),))
        bench.clock.now_s += 70
        assert bench.ask(bucket).granted
        flush(bench)
        assert not bench.ask(bucket).granted
        bench.clock.now_s += 5
        assert bench.ask(bucket).granted
        assert not bench.ask(bucket).granted

    def test_another_process_s_learned_limit_is_known_soon(self, bench: Bench, valkey_url: str) -> None:
        """Within a second of asking, who has never seen the header keeps to it."""
        bucket = Bucket(name="unknown")
        other = Bench(
            lambda clock: ValkeyLimiter(Redis.from_url(valkey_url), clock, clock.now_us), bench.clock
        )
        other.ask(bucket)
        bench.ask(bucket, permit="a")
        bench.settle("a", quotas=(Quota(dimension=Dimension.REQUESTS, limit=60, remaining=59),))
        bench.clock.now_s += 1
        assert not other.ask(bucket).granted
        other.close()

    def test_after_a_flush_slots_are_given_when_holders_had_time_to_renew(self, bench: Bench) -> None:
        """Calls in flight are not joined by more than there are slots, though their leases were lost."""
        bucket = Bucket(name="slots", limits=Limits(concurrency=2))
        bench.ask(bucket, permit="a")
        bench.ask(bucket, permit="b")
        flush(bench)
        assert not bench.ask(bucket, permit="c").granted
        bench.clock.now_s += RENEW_EVERY_S / 2
        bench.run(bench.limiter.renew(["a", "b"]))
        bench.clock.now_s += RENEW_EVERY_S
        assert not bench.ask(bucket, permit="c").granted
        bench.settle("a")
        assert bench.ask(bucket, permit="c").granted

    def test_what_is_left_behind_expires(self, bench: Bench) -> None:
        """Every key is gone a day after its last use."""
        bench.ask(Bucket(name="slots", limits=Limits(concurrency=2, requests=60)))
        bench.clock.now_s += 5
        bench.ask(Bucket(name="slots", limits=Limits(concurrency=2, requests=60)))
        assert bench.run(_lives_s(bench)) == [86_400, 86_400]

    def test_what_has_no_limit_needs_no_round_trip(self, bench: Bench) -> None:
        """Once it was looked up, calls are let through without asking for a second."""
        bucket = Bucket(name="free")
        bench.ask(bucket)
        assert isinstance(bench.limiter, ValkeyLimiter)
        before = bench.run(_commands(bench.limiter._client))
        bench.ask_all([bench.make_ask(bucket) for _ in range(100)])
        assert bench.run(_commands(bench.limiter._client)) - before == 1  # that of counting them


@pytest.mark.parametrize("seed", range(6))
def test_a_flush_in_mid_run_leads_to_no_violation(valkey_url: str, seed: int) -> None:
    """Two workers of their own connections under load: no minute holds too much, however much was forgotten."""
    clock, chance = VirtualClock(), random.Random(seed)
    bucket = Bucket(name=f"flushed-{seed}", limits=Limits(requests=600, tokens=60_000))
    limiter = ValkeyLimiter(Redis.from_url(valkey_url), clock, clock.now_us)
    crew = [Worker(buckets=(bucket,), tokens=lambda chance: chance.randint(20, 2_000)) for _ in range(2)]
    run = Traffic(limiter=limiter, clock=clock, workers=crew, chance=chance)
    with redis.Redis.from_url(valkey_url) as other:
        run.run(150, [Event(at_s=chance.uniform(5, 80), act=lambda: other.flushall())])
    assert most_in(60, tokens(run.left)) <= 60_000
    assert most_in(60, requests(run.left)) <= 600
    assert most_in(1, requests(run.left)) <= 10
    assert len(run.left) > 100


def flush(bench: Bench) -> None:
    assert isinstance(bench.limiter, ValkeyLimiter)
    bench.run(_flush(bench.limiter._client))


async def _commands(client: Redis) -> int:
    return int((await client.info("stats"))["total_commands_processed"])


async def _lives_s(bench: Bench) -> list[int]:
    assert isinstance(bench.limiter, ValkeyLimiter)
    client = bench.limiter._client
    return sorted([round(await client.pttl(key) / 1000) async for key in client.scan_iter("batchmill:*")])
