"""Chaos tests that are short enough to be run on every mutant, each where one part of the product is needed.

They are run by `test_mutations.py`, in copies of the product, and are no part of the suite proper.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import func, select

from batchmill.failpoints import EXIT_STATUS, Failpoint
from batchmill.providers.base import WORKER_LOST
from batchmill.requests.model import BatchState
from db.tables import ledger
from tests.chaos.conftest import PATIENCE_S
from tests.chaos.test_failpoints import Mortal
from tests.support.arena import CONCURRENCY, HASTY, Machines, work_until, work_until_first_is_still
from tests.support.mill import Mill, Sandbox, read_lines, sandbox, wait_until
from tests.support.orders import hand_in, question_file
from tests.support.proof import Proof, prove
from tests.support.spending import Witness, prove_covered

LINES = 60
BUDGETS = (("global",), ("provider", "openai"), ("model", "gpt-4o-mini"))
FAULTS = ("--fault", "400=0.03", "--fault", "500=0.05", "--fault", "429=0.05")


def set_budgets(crowd: Machines) -> None:
    """Budgets that cover each other, with room for everything."""
    for words in BUDGETS:
        done = crowd.mill.quickly("budget", "set", *words, "--total", "100")
        assert done.returncode == 0, done.stderr


def finish(
    crowd: Machines, provider: Sandbox, tmp_path: Path, sources: Sequence[Path], mortal: Mortal | None = None
) -> Proof:
    """Hand files in, let them be answered, and prove every promise kept."""
    inputs = {hand_in(crowd, source): source for source in sources}
    witness = Witness(crowd.database, provider)

    def look() -> int:
        if mortal is not None:
            mortal.tend()
        return witness.look()

    def is_over() -> bool:
        return (mortal is None or bool(mortal.died)) and witness.is_quiet(BatchState.COMPLETED)

    work_until(crowd, is_over, look, within_s=PATIENCE_S)
    witness.look()
    prove_covered(crowd.database)
    return prove(crowd, provider, inputs, tmp_path)


def files(tmp_path: Path, count: int) -> list[Path]:
    """Files that ask much that is the same."""
    return [question_file(tmp_path / f"in-{nth}.jsonl", LINES, nth) for nth in range(count)]


def test_all_are_answered(crowd: Machines, tmp_path: Path) -> None:
    """Two workers, three batches that ask much that is the same, a provider that fails now and then, three budgets."""
    with sandbox(tmp_path, "--latency", "0.05-0.15", *FAULTS) as provider:
        crowd.mill.environ |= {"OPENAI_BASE_URL": provider.url}
        set_budgets(crowd)
        finish(crowd, provider, tmp_path, files(tmp_path, 3))
    with crowd.database.read() as tx:
        lost = tx.rows(select(func.count()).where(ledger.c.error == WORKER_LOST))[0][0]
    assert lost == 0, f"§10.10 no worker was lost, but {lost} calls were taken from theirs"


def test_one_dies(crowd: Machines, tmp_path: Path) -> None:
    """A worker dies with calls under way that are billed; what it held is taken back."""
    mortal = Mortal(crowd, [f"{Failpoint.BEFORE_SETTLE}:2"])
    with sandbox(tmp_path, "--latency", "0.2-0.3") as provider:
        crowd.mill.environ |= HASTY | {"OPENAI_BASE_URL": provider.url}
        set_budgets(crowd)
        crowd.part_environments()
        mortal.begin()
        proof = finish(crowd, provider, tmp_path, files(tmp_path, 2), mortal)
    assert proof.unknown, "§10.7 a call is lost, and its cost is said to be known"


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_one_wakes_late(crowd: Machines, tmp_path: Path) -> None:
    """A worker stands still with calls under way, until others have answered all; then it writes what they brought, and
    what has ended stays as it is."""
    with sandbox(tmp_path, "--latency", "0.3-0.4") as provider:
        crowd.mill.environ |= HASTY | {"OPENAI_BASE_URL": provider.url}
        crowd.part_environments()
        sleeper = crowd.machines[0]
        sleeper.environ["BATCHMILL_FAILPOINT"] = f"{Failpoint.AFTER_SEND}:{CONCURRENCY}:stop"
        (source,) = files(tmp_path, 1)
        batch = hand_in(crowd, source)
        witness = Witness(crowd.database, provider)
        work_until_first_is_still(crowd, witness.look, within_s=PATIENCE_S)
        work_until(crowd, lambda: witness.is_quiet(BatchState.COMPLETED), witness.look, within_s=PATIENCE_S)
        assert len(sleeper.standing_still()) == 1
        sleeper.wake()
        wait_until(lambda: not witness.unknown(), PATIENCE_S)
        witness.look()
        prove(crowd, provider, {batch: source}, tmp_path)


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_all_stand_still(crowd: Machines, tmp_path: Path) -> None:
    """Every worker stands still for longer than its lease, with lines it has not sent yet, and nobody takes over:
    these are claimed again before they are sent."""
    with sandbox(tmp_path, "--latency", "0.3-0.4") as provider:
        crowd.mill.environ |= HASTY | {"OPENAI_BASE_URL": provider.url}
        crowd.part_environments()
        for machine in crowd.machines:
            machine.environ["BATCHMILL_FAILPOINT"] = f"{Failpoint.AFTER_SEND}:{CONCURRENCY}:stop"
        (source,) = files(tmp_path, 1)
        batch = hand_in(crowd, source)
        witness = Witness(crowd.database, provider)
        work_until(
            crowd,
            lambda: all(machine.standing_still() for machine in crowd.machines),
            witness.look,
            within_s=PATIENCE_S,
        )
        work_until(crowd, lambda: witness.is_quiet(*BatchState), witness.look, within_s=PATIENCE_S)
        for machine in crowd.machines:
            machine.wake()
        work_until(crowd, lambda: witness.is_quiet(BatchState.COMPLETED), witness.look, within_s=PATIENCE_S)
        prove(crowd, provider, {batch: source}, tmp_path)


def test_a_run_dies_half_way(everywhere: Mill, tmp_path: Path) -> None:
    """It leaves no half of a file; done again, it leaves a whole one."""
    source, output = question_file(tmp_path / "in.jsonl", LINES), tmp_path / "out.jsonl"
    with sandbox(tmp_path) as provider:
        everywhere.environ["OPENAI_BASE_URL"] = provider.url
        everywhere.environ["BATCHMILL_FAILPOINT"] = (
            f"{Failpoint.IN_DELIVERY}:{random.Random(0).randint(2, LINES)}"
        )
        done = everywhere("run", source, "-o", output)
        assert done.returncode == EXIT_STATUS, done
        assert not output.exists(), "§10.1 half of a file has its name"
        del everywhere.environ["BATCHMILL_FAILPOINT"]
        done = everywhere("run", source, "-o", output)
        assert done.returncode == 0, done.stderr
    named = [line["custom_id"] for line in read_lines(output)]
    assert named == [line["custom_id"] for line in read_lines(source)], "§10.1 not each line once, in order"
