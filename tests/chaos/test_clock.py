"""The machine's clock jumps, on SQLite, which has no clock but that: nothing is lost, nothing is done twice."""

import os
import random
import signal
from contextlib import closing
from pathlib import Path

import pytest

from batchmill.requests.model import BatchState
from tests.chaos.conftest import PATIENCE_S, SEEDS
from tests.support.arena import CONCURRENCY, HASTY, home, work_until
from tests.support.mill import sandbox
from tests.support.orders import hand_in, question_file
from tests.support.other_clock import OtherClock
from tests.support.proof import prove
from tests.support.spending import Witness

LINES = 200
FARTHEST_MS = 3_600_000


@pytest.mark.large
@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_clock_jumps_there_and_back(tmp_path: Path, seed: int) -> None:
    """An hour ahead and back again, while workers are killed: leases that seem to have run out are taken back, and
    those that seem to last for an hour more do not hold their dead workers' lines for so long."""
    draw = random.Random(seed)
    with home(tmp_path, workers=2) as arena, sandbox(tmp_path, "--latency", "0.1-0.3") as provider:
        arena.mill.environ |= HASTY | {"OPENAI_BASE_URL": provider.url}
        clock = OtherClock(mill=arena.mill, offset=tmp_path / "offset", log=tmp_path / "clocked.log")
        clock.jump(0)
        source = question_file(tmp_path / "in.jsonl", LINES, seed)
        batch = hand_in(arena, source)
        jumps = {
            LINES // 8: draw.randint(10_000, FARTHEST_MS),
            LINES // 3: 0,
            LINES // 2: -draw.randint(1, 10) * 1000,
        }
        witness = Witness(arena.database, provider)
        with closing(clock):
            arena.is_tended = False
            clock.start("worker", "--processes", "2", "--concurrency", CONCURRENCY)

            def look() -> int:
                calls = witness.look()
                for at in [at for at in jumps if at <= calls]:
                    clock.jump(jumps.pop(at))
                    if pids := arena.mill.worker_children():
                        os.kill(draw.choice(sorted(pids)), signal.SIGKILL)
                return calls

            work_until(arena, lambda: witness.is_quiet(BatchState.COMPLETED), look, within_s=PATIENCE_S)
        assert not jumps
        print(f"\nseed {seed}: {prove(arena, provider, {batch: source}, tmp_path)}")
