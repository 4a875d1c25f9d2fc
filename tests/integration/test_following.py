"""What a worker process keeps up with while it runs: limits as they are set, and how many processes share them."""

import asyncio
import time

from batchmill.limits.gate import Gate
from batchmill.limits.line import NoPass, Pass
from batchmill.limits.memory import MemoryLimiter
from batchmill.limits.owner import OwnerLimits
from batchmill.routing.names import Target
from batchmill.routing.upstreams import NOWHERE
from db import limits, workers
from db.engine import Database
from workers.addresses import ENDPOINTS
from workers.prices import FollowedPrices

MODEL = Target(provider="openai", model="m")
OFTEN_S = 0.05


async def let_through(gate: Gate, tries: int) -> int:
    """How many of so many calls get a pass before a second is over."""
    entering = [asyncio.create_task(gate.enter(MODEL)) for _ in range(tries)]
    done, waiting = await asyncio.wait(entering, timeout=1.0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    passes = [told for task in done if not isinstance(told := task.result(), NoPass)]
    for given in passes:
        assert isinstance(given, Pass)
        await gate.give_back(given)
    return len(passes)


def test_processes_that_come_later_have_their_part(database: Database) -> None:
    """Where limits cannot be shared, all divide them anew when another process is there or has gone."""

    async def run() -> list[int]:
        gate = Gate(MemoryLimiter(), accounts={"openai": ["k"]}, room=8, clock=time.monotonic)
        followed = FollowedPrices(
            database,
            {},
            output_cap_tokens=100,
            upstreams=NOWHERE,
            misfit=lambda *_: None,
            endpoints=ENDPOINTS,
            gate=gate,
        )
        seen = []
        async with followed.followed(OFTEN_S):
            for _ in range(2):
                seen.append(await let_through(gate, 6))
                with database.write() as tx:
                    workers.register(tx, workers.new_id(), "elsewhere")
                await asyncio.sleep(10 * OFTEN_S)
            seen.append(await let_through(gate, 6))
        await gate.close()
        return seen

    with database.write() as tx:
        limits.merge(tx, OwnerLimits(provider="openai", model="m", concurrency=6))
        workers.register(tx, workers.new_id(), "here")
    assert asyncio.run(run()) == [6, 3, 2]
