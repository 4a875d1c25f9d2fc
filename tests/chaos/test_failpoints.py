"""Dying at each named moment in the way of a request: whatever was half-done is done once, and paid for once."""

import random
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from os import kill
from pathlib import Path

import pytest
from sqlalchemy import func, select

from batchmill.failpoints import EXIT_STATUS, Failpoint
from batchmill.requests.model import BatchState
from db.tables import claims
from tests.chaos.conftest import PATIENCE_S, SEEDS, mainly_on_server
from tests.support.arena import HASTY, Machines, work_until
from tests.support.http_client import names, start_service
from tests.support.mill import Mill, read_lines, sandbox, wait_until
from tests.support.orders import hand_in, question_file
from tests.support.ports import free_port
from tests.support.proof import ask_doctor, prove
from tests.support.spending import Witness

IN_WORKERS = (
    Failpoint.AFTER_CLAIM,
    Failpoint.IN_DISPATCH,
    Failpoint.AFTER_DISPATCH,
    Failpoint.AFTER_SEND,
    Failpoint.BEFORE_SETTLE,
    Failpoint.IN_SETTLE,
    Failpoint.AFTER_SETTLE,
)
IN_RUNS = (
    Failpoint.IN_INTAKE,
    Failpoint.BEFORE_START,
    Failpoint.AFTER_START,
    Failpoint.IN_DELIVERY,
    Failpoint.BEFORE_RENAME,
    Failpoint.BETWEEN_RENAMES,
    Failpoint.BEFORE_FINISH,
)
IN_SERVICES = (
    Failpoint.IN_INTAKE,
    Failpoint.BEFORE_START,
    Failpoint.AFTER_START,
    Failpoint.IN_DELIVERY,
    Failpoint.BEFORE_FINISH,
)
IN_UPKEEP = {Failpoint.IN_SWEEP: "sweep", Failpoint.IN_JOB: "cache-cleanup"}
"""And the job that gets there."""
MANY_LINES = 2_500
"""More than go into the database at once: a run can die between two portions."""


@dataclass(slots=True)
class Mortal:
    """An arena whose machines die at one point after the other; who has is started anew, for the next."""

    arena: Machines
    points: list[str]
    died: list[str] = field(default_factory=list)
    _fates: dict[int, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Let each machine have its first point before any is started."""
        for number in range(len(self.arena.machines)):
            self._draw(number)

    def tend(self) -> None:
        """End whoever has met its point, as its host would with it, and start it for the next one."""
        for number, machine in enumerate(self.arena.machines):
            fate = self._fates.get(number)
            if fate is not None and f"failpoint {fate.partition(':')[0]}: exit" in self.arena.log_of(number):
                _end(machine)
                self.died.append(fate)
                self._draw(number)

    def _draw(self, number: int) -> None:
        machine = self.arena.machines[number]
        self._fates.pop(number, None)
        machine.environ.pop("BATCHMILL_FAILPOINT", None)
        self.arena.forget_log(number)
        if self.points:
            self._fates[number] = machine.environ["BATCHMILL_FAILPOINT"] = self.points.pop(0)


def _end(machine: Mill) -> None:
    for pid in machine.processes():
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


@mainly_on_server
@pytest.mark.parametrize("seed", range(SEEDS))
def test_workers_die_at_every_point(crowd: Machines, tmp_path: Path, seed: int, dialect: str) -> None:
    """Each of them, in an order and after a number of times that the seed decides."""
    draw = random.Random(seed)
    points = [f"{point}:{draw.randint(1, 4)}" for point in draw.sample(IN_WORKERS, len(IN_WORKERS))]
    mortal = Mortal(crowd, list(points))
    with sandbox(tmp_path, "--latency", "0.1-0.3", "--seed", str(seed)) as provider:
        crowd.mill.environ |= HASTY | {"OPENAI_BASE_URL": provider.url}
        crowd.part_environments()
        mortal.begin()
        source = question_file(tmp_path / "in.jsonl", 200, seed)
        batch = hand_in(crowd, source)
        witness = Witness(crowd.database, provider)

        def look() -> int:
            mortal.tend()
            return witness.look()

        work_until(
            crowd,
            lambda: len(mortal.died) == len(points) and witness.is_quiet(BatchState.COMPLETED),
            look,
            within_s=PATIENCE_S,
        )
        print(f"\n{dialect}, seed {seed}: {', '.join(mortal.died)}: ", end="")
        print(prove(crowd, provider, {batch: source}, tmp_path))


@pytest.mark.parametrize(
    "everywhere", ["sqlite", pytest.param("postgresql", marks=pytest.mark.large)], indirect=True
)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_run_dies_at_every_point(everywhere: Mill, tmp_path: Path, seed: int) -> None:
    """The same command, again and again, each time dying a step further on: whole files or none, and then all of it."""
    draw = random.Random(seed)
    source, output = question_file(tmp_path / "in.jsonl", MANY_LINES, seed), tmp_path / "out.jsonl"
    command = ("run", source, "-o", output, "--json")
    with sandbox(tmp_path, "--fault", "400=0.01", "--seed", str(seed)) as provider:
        everywhere.environ |= HASTY | {"OPENAI_BASE_URL": provider.url}
        for point in IN_RUNS:
            nth = draw.randint(1, MANY_LINES) if point is Failpoint.IN_DELIVERY else 1
            everywhere.environ["BATCHMILL_FAILPOINT"] = f"{point}:{nth}"
            done = everywhere.quickly(*command)
            assert (done.returncode, output.exists()) == (EXIT_STATUS, point is Failpoint.BEFORE_FINISH), done
        del everywhere.environ["BATCHMILL_FAILPOINT"]
        done = everywhere.quickly(*command)
        assert done.returncode in (0, 1), done.stderr
        doctor = everywhere.quickly("doctor", "--witness", str(provider.log))
        calls = len(provider.calls())
    assert doctor.returncode == 0, doctor.stdout
    answers, failures = (read_lines(tmp_path / name) for name in ("out.jsonl", "out.errors.jsonl"))
    assert failures
    names = [line["custom_id"] for line in (*answers, *failures)]
    assert sorted(names) == sorted(f"c{nth}" for nth in range(MANY_LINES))
    assert calls <= MANY_LINES
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


@mainly_on_server
def test_upkeep_dies_at_every_point(crowd: Machines, tmp_path: Path) -> None:
    """A sweep that dies while it takes back what a dead worker held has taken back nothing; the next does it once."""
    mortal = Mortal(crowd, [str(Failpoint.AFTER_SEND)])
    with sandbox(tmp_path, "--latency", "0.1-0.3") as provider:
        crowd.mill.environ |= HASTY | {"OPENAI_BASE_URL": provider.url}
        crowd.part_environments()
        mortal.begin()
        source = question_file(tmp_path / "in.jsonl", 100)
        batch = hand_in(crowd, source)
        witness = Witness(crowd.database, provider)

        def look() -> int:
            mortal.tend()
            return witness.look()

        work_until(crowd, lambda: bool(mortal.died), look, within_s=PATIENCE_S)
        wait_until(lambda: lost_claims(crowd) > 0, PATIENCE_S)
        lost, unknown = lost_claims(crowd), witness.unknown()
        for point, job in IN_UPKEEP.items():
            crowd.mill.environ["BATCHMILL_FAILPOINT"] = point
            assert crowd.mill.quickly("schedules", "run", job).returncode == EXIT_STATUS, point
        del crowd.mill.environ["BATCHMILL_FAILPOINT"]
        assert lost_claims(crowd) >= lost  # the dead one's others may have run out meanwhile
        assert witness.unknown() == unknown
        work_until(crowd, lambda: witness.is_quiet(BatchState.COMPLETED), look, within_s=PATIENCE_S)
        assert witness.unknown() > unknown
        prove(crowd, provider, {batch: source}, tmp_path)


def lost_claims(crowd: Machines) -> int:
    """How many claims have run out that nobody has taken back."""
    with crowd.database.read() as tx:
        return int(tx.rows(select(func.count()).where(claims.c.lease_until_ms <= tx.now_ms))[0][0])


def test_none_is_left_out() -> None:
    """A point that is added to the product wants a test that dies there."""
    assert {*IN_WORKERS, *IN_RUNS, *IN_SERVICES, *IN_UPKEEP} == set(Failpoint)


@pytest.mark.large
@pytest.mark.timeout(400)
def test_a_service_dies_at_every_point(mill: Mill, tmp_path: Path) -> None:
    """What it has accepted is read, answered and delivered by whoever is started next; nothing is left half-written."""
    source, port = question_file(tmp_path / "in.jsonl", MANY_LINES), free_port()
    with sandbox(tmp_path) as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        client = start_service(mill, port=port)
        file = client.upload(source.read_bytes())
        stop(mill)
        batch = ""
        for point in IN_SERVICES:
            mill.environ["BATCHMILL_FAILPOINT"] = point
            client = start_service(mill, port=port)
            batch = batch or client.create(file["id"])["id"]
            assert mill.started[-1].wait(PATIENCE_S) == EXIT_STATUS, point
            mill.kill_everything()
        del mill.environ["BATCHMILL_FAILPOINT"]
        client = start_service(mill, port=port)
        shown = client.ended(batch)
        lines = client.lines(shown["output_file_id"])
        stop(mill)
        ask_doctor(mill, provider)
    assert (shown["status"], shown["error_file_id"]) == ("completed", None), shown
    assert names(lines) == [line["custom_id"] for line in read_lines(source)]
    whole = {name for (name,) in mill.query("SELECT public_id FROM files WHERE state = 'processed'")}
    assert whole == {shown["input_file_id"], shown["output_file_id"]}


def stop(mill: Mill) -> None:
    """As one does."""
    done = mill.quickly("down")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not mill.processes(), PATIENCE_S)
