"""The disk of an embedded home fills up in the middle of a batch, and is cleared: it goes on, and nothing was lost."""

import time
from pathlib import Path

import pytest

from batchmill.requests.model import BatchState
from tests.chaos.conftest import PATIENCE_S, SEEDS
from tests.support.arena import home, work_until
from tests.support.full_disk import disk_of
from tests.support.mill import sandbox, wait_until
from tests.support.orders import hand_in, question_file
from tests.support.proof import prove
from tests.support.spending import Witness

LINES = 240
FULL_FOR_S = 3.0


@pytest.mark.large
@pytest.mark.parametrize("seed", range(SEEDS))
def test_full_while_workers_answer(tmp_path: Path, seed: int) -> None:
    """Answers that cannot be written are kept until they can; meanwhile no further call is made."""
    with home(tmp_path, workers=2) as arena, sandbox(tmp_path, "--latency", "0.1-0.3") as provider:
        source = question_file(tmp_path / "in.jsonl", LINES, seed)
        arena.mill.environ["OPENAI_BASE_URL"] = provider.url
        batch = hand_in(arena, source)
        disk = disk_of(arena.mill.home, tmp_path)
        arena.mill.environ |= disk.environ
        witness = Witness(arena.database, provider)
        work_until(arena, lambda: len(provider.calls()) > LINES // 4, witness.look, within_s=PATIENCE_S)
        with disk.full():
            wait_until(lambda: "full" in arena.log(), PATIENCE_S)
            time.sleep(1)  # calls that had been written down before are made
            at_most = len(provider.calls())
            time.sleep(FULL_FOR_S)
            assert len(provider.calls()) == at_most
        work_until(arena, lambda: witness.is_quiet(BatchState.COMPLETED), witness.look, within_s=PATIENCE_S)
        proof = prove(arena, provider, {batch: source}, tmp_path)
    print(f"\nseed {seed}: {proof}")
    assert proof.unknown == 0
