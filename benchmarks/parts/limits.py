"""Part `limits`: calls let through by the limiter, asked for in lists, on a Valkey of its own machine."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence

from redis.asyncio import Redis

from batchmill.limits.model import Ask, Bucket, Demand, Limits, Settlement
from batchmill.limits.valkey import ValkeyLimiter
from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.runs import BenchmarkError
from benchmarks.stage import Stage

RATE = "let through and settled, calls/s"
TARGETS: Mapping[str, AtLeast | AtMost] = {RATE: AtLeast(5_000)}
LIST_SIZE = 64
WARM_UP_S = 3.0
HIGH = 60_000_000
BUCKETS = (
    Bucket(name="benchmark", limits=Limits(requests=HIGH, tokens=1_000 * HIGH, concurrency=HIGH)),
    Bucket(name="benchmark/model", limits=Limits(requests=HIGH, tokens=1_000 * HIGH)),
)
"""All dimensions are counted; none is ever reached."""


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """One process, one list after the other, each settled before the next."""
    yield Part.LIMITS, asyncio.run(_measure(stage.valkey_url, stage.sizes.admissions))


async def _measure(url: str, calls: int) -> dict[str, float]:
    limiter = ValkeyLimiter(Redis.from_url(url))
    try:
        await limiter.admit(_asks("first"))
        await asyncio.sleep(WARM_UP_S)
        begun, cpu_begun, granted = time.monotonic(), time.process_time(), 0
        for number in range(-(-calls // LIST_SIZE)):
            asks = _asks(str(number))
            granted += sum(answer.granted for answer in await limiter.admit(asks))
            await limiter.settle(
                [Settlement(permit=ask.permit, actual=Demand(input_tokens=90)) for ask in asks]
            )
        wall_s, cpu_s = time.monotonic() - begun, time.process_time() - cpu_begun
    finally:
        await limiter.close()
    if granted < calls:
        raise BenchmarkError(f"only {granted} of {calls} calls were let through")
    return {RATE: granted / wall_s, "asking process, ms CPU a call": cpu_s / granted * 1_000}


def _asks(name: str) -> Sequence[Ask]:
    demand = Demand(input_tokens=90, output_tokens=10)
    return [Ask(permit=f"{name}-{n}", buckets=BUCKETS, demand=demand) for n in range(LIST_SIZE)]
