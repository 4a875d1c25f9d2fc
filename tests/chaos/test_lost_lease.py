"""A worker that stands still for longer than its lease lasts: others go on, and when it wakes it makes no call.

On PostgreSQL only: who is stopped in the middle of writing to SQLite keeps its lock, and all others wait.
"""

import random
from pathlib import Path

import pytest

from batchmill.failpoints import Failpoint
from batchmill.requests.model import BatchState
from tests.chaos.conftest import PATIENCE_S, SEEDS
from tests.support.arena import HASTY, Machines, work_until, work_until_first_is_still
from tests.support.mill import sandbox, wait_until
from tests.support.orders import hand_in, question_file
from tests.support.proof import prove
from tests.support.spending import Witness


@pytest.mark.parametrize("dialect", ["postgresql"])
@pytest.mark.parametrize(
    "point",
    [
        Failpoint.AFTER_DISPATCH,
        pytest.param(Failpoint.AFTER_CLAIM, marks=pytest.mark.large),
        # In the middle of a transaction: the server ends that after a while, and others go on.
        pytest.param(Failpoint.IN_DISPATCH, marks=pytest.mark.large),
        pytest.param(Failpoint.IN_SETTLE, marks=pytest.mark.large),
    ],
)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_sleeper_makes_no_call(
    crowd: Machines, tmp_path: Path, seed: int, point: Failpoint, dialect: str
) -> None:
    """Neither for what it had claimed nor for what it had written down: that was not sent, and then costs nothing."""
    with sandbox(tmp_path, "--latency", "0.05-0.2", "--seed", str(seed)) as provider:
        crowd.mill.environ |= HASTY | {"OPENAI_BASE_URL": provider.url}
        crowd.part_environments()
        sleeper = crowd.machines[0]
        nth = random.Random(seed).randint(1, 3)
        sleeper.environ["BATCHMILL_FAILPOINT"] = f"{point}:{nth}:stop"
        source = question_file(tmp_path / "in.jsonl", 200, seed)
        batch = hand_in(crowd, source)
        witness = Witness(crowd.database, provider)
        work_until_first_is_still(crowd, witness.look, within_s=PATIENCE_S)
        work_until(crowd, lambda: witness.is_quiet(BatchState.COMPLETED), witness.look, within_s=PATIENCE_S)
        assert len(sleeper.standing_still()) == 1
        before = len(provider.calls())
        lost = witness.unknown()
        assert lost or point in (Failpoint.AFTER_CLAIM, Failpoint.IN_DISPATCH)
        sleeper.wake()
        # What was not sent after all is no longer unknown once it has said so.
        wait_until(lambda: not witness.unknown(), PATIENCE_S)
        sleeper.close()
        assert len(provider.calls()) == before, "§10.10 a call after a lost lease"
        print(f"\n{dialect}, seed {seed}, {point}: {lost} calls not made: ", end="")
        print(prove(crowd, provider, {batch: source}, tmp_path))
