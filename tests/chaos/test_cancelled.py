"""A batch is cancelled while workers die: no call is begun from that moment on (design, §10.11)."""

import random
from pathlib import Path

from sqlalchemy import func, select

from batchmill.requests.model import BatchState
from db.tables import attempts
from tests.chaos.conftest import PATIENCE_S, every_seed, mainly_on_server
from tests.support.arena import HASTY, Machines, work_until
from tests.support.mill import sandbox
from tests.support.orders import hand_in, question_file
from tests.support.proof import prove
from tests.support.spending import Witness

LINES = 200


@mainly_on_server
@every_seed
def test_no_call_is_begun(crowd: Machines, tmp_path: Path, seed: int, dialect: str) -> None:
    """Those that are out end, or are taken from the dead; every line ends, the rest of them cancelled."""
    draw = random.Random(seed)
    with sandbox(tmp_path, "--latency", "0.1-0.4", "--seed", str(seed)) as provider:
        crowd.mill.environ |= HASTY | {"OPENAI_BASE_URL": provider.url}
        source = question_file(tmp_path / "in.jsonl", LINES, seed)
        batch = hand_in(crowd, source)
        witness = Witness(crowd.database, provider)
        begun = draw.randint(LINES // 8, LINES // 2)
        work_until(crowd, lambda: len(provider.calls()) >= begun, witness.look, within_s=PATIENCE_S)
        assert crowd.mill.quickly("cancel", batch).returncode == 0
        told_ms = crowd.database.now_ms()
        crowd.hurt(draw)
        work_until(crowd, lambda: witness.is_quiet(BatchState.CANCELLED), witness.look, within_s=PATIENCE_S)
        with crowd.database.read() as tx:
            last_ms = tx.rows(select(func.max(attempts.c.sent_ms)))[0][0]
        assert last_ms <= told_ms, "§10.11 a call of a cancelled batch"
        print(f"\n{dialect}, seed {seed}: {prove(crowd, provider, {batch: source}, tmp_path)}")
