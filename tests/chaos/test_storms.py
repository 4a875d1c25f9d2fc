"""Who is told to end, or killed, again and again: workers that are stopped in order lose nothing and owe nobody; and a
whole installation of which somebody is always dead keeps what it has accepted."""

import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from os import killpg
from pathlib import Path

import pytest

from batchmill.requests.model import BatchState
from db.engine import Database
from tests.chaos.conftest import PATIENCE_S, SEEDS
from tests.support.arena import HASTY, Machines, work_until
from tests.support.http_client import ENDED, HttpClient, names
from tests.support.mill import Mill, read_lines, sandbox, wait_until
from tests.support.orders import hand_in, question_file
from tests.support.ports import free_port
from tests.support.proof import ask_doctor, prove
from tests.support.servers import PostgresCluster
from tests.support.spending import Witness

STOPS = 6
KILLS = 10
PRODUCERS = 3
LINES = 25


@pytest.mark.large
@pytest.mark.parametrize("seed", range(SEEDS))
def test_sigterm_again_and_again(crowd: Machines, tmp_path: Path, seed: int, dialect: str) -> None:
    """Workers end their calls and leave in order, also when they are told so several times: nothing is unknown, and
    nothing is called twice."""
    draw = random.Random(seed)
    with sandbox(tmp_path, "--latency", "0.1-0.4", "--seed", str(seed)) as provider:
        crowd.mill.environ["OPENAI_BASE_URL"] = provider.url
        source = question_file(tmp_path / "in.jsonl", 200, seed)
        batch = hand_in(crowd, source)
        witness = Witness(crowd.database, provider)
        told: list[subprocess.Popen[str]] = []
        next_s = 0.0

        def look() -> int:
            nonlocal next_s
            calls = witness.look()
            at_work = [process for process in crowd.at_work() if process not in told]
            if at_work and len(told) < STOPS and time.monotonic() > next_s:
                next_s = time.monotonic() + draw.uniform(0.2, 1.0)
                process = draw.choice(at_work)
                for _ in range(draw.randint(1, 3)):
                    process.terminate()
                told.append(process)
            return calls

        work_until(crowd, lambda: witness.is_quiet(BatchState.COMPLETED), look, within_s=PATIENCE_S)
        proof = prove(crowd, provider, {batch: source}, tmp_path)
        print(f"\n{dialect}, seed {seed}: {len(told)} told to end: {proof}")
        assert told
        assert [process.wait(PATIENCE_S) for process in told] == [0] * len(told)
        assert proof.unknown == 0


@dataclass(kw_only=True)
class Installation:
    """All that a grown-up installation is made of, each command on a machine of its own.

    Attributes:
        parts: By what they are, machine and arguments.
    """

    parts: dict[str, tuple[Mill, Sequence[str]]]
    database: Database
    client: HttpClient
    running: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @property
    def mill(self) -> Mill:
        """For commands."""
        return self.parts["service"][0]

    def tend(self) -> None:
        """Start whoever does not run."""
        for name, (machine, arguments) in self.parts.items():
            if name not in self.running or self.running[name].poll() is not None:
                with (machine.folder / "said.log").open("a") as log:
                    self.running[name] = machine.start(*arguments, log=log)

    def strike(self, draw: random.Random) -> str:
        """kill -9 of somebody, with all its processes or of one of them; who."""
        name = draw.choice(sorted(self.parts))
        machine, process = self.parts[name][0], self.running[name]
        with suppress(ProcessLookupError):
            if draw.random() < 0.5:
                killpg(process.pid, signal.SIGKILL)
            else:
                subprocess.run(
                    ["kill", "-9", str(draw.choice(machine.processes()))], check=False, capture_output=True
                )
        return name


@pytest.fixture
def installation(
    tmp_path: Path, make_mill: object, postgres: PostgresCluster, valkey_url: str
) -> Iterator[Installation]:
    """A service, two workers, one for maintenance, and beat; on PostgreSQL and a Valkey."""
    assert callable(make_mill)
    url, port = postgres.create(), free_port()
    commands = {
        "service": ("serve", "--port", str(port)),
        "worker-1": ("worker",),
        "worker-2": ("worker",),
        "maintenance": ("worker", "--maintenance"),
        "beat": ("beat",),
    }
    shared = HASTY | {
        "DATABASE_URL": url,
        "BROKER_URL": valkey_url,
        "BATCHMILL_FILES_URL": str(tmp_path / "files"),
        "BATCHMILL_KEYS_SECRET": "k" * 32,
        "BATCHMILL_BEAT_S": "1",
    }
    parts = {}
    for name, arguments in commands.items():
        machine = make_mill(tmp_path / name)
        machine.folder.mkdir()
        machine.environ = shared
        parts[name] = (machine, arguments)
    database = Database(url)
    client = HttpClient(url=f"http://127.0.0.1:{port}", patience_s=PATIENCE_S)
    yield Installation(parts=parts, database=database, client=client)
    for machine, _ in parts.values():
        machine.close()
    database.close()
    postgres.drop(url)


class Producer(threading.Thread):
    """Hands batches in until told to stop."""

    def __init__(self, client: HttpClient, folder: Path, seed: int) -> None:
        super().__init__(name=f"producer-{seed}")
        self.client = client
        self.batches: dict[str, Path] = {}
        self.error: BaseException | None = None
        self.is_over = threading.Event()
        self._folder = folder
        self._seed = seed

    def run(self) -> None:
        """Do so."""
        try:
            for nth in count():
                path = question_file(self._folder / f"{self.name}-{nth}.jsonl", LINES, 100 * self._seed + nth)
                file = self.client.upload(path.read_bytes())
                self.batches[self.client.create(file["id"])["id"]] = path
                if self.is_over.wait(0.7):
                    return
        except BaseException as error:
            self.error = error


def fetch_all(installation: Installation, client: HttpClient, batches: Mapping[str, Path]) -> int:
    """Wait for each batch and find each of its lines once in its files; how many."""
    return sum(fetch(installation, client, batch, path) for batch, path in batches.items())


def fetch(installation: Installation, client: HttpClient, batch: str, path: Path) -> int:
    """The same of one; meanwhile whoever was killed last is started."""

    def is_over() -> bool:
        installation.tend()
        return client.batch(batch)["status"] in ENDED

    wait_until(is_over, PATIENCE_S)
    shown = client.batch(batch)
    assert (shown["status"], shown["error_file_id"]) == ("completed", None), shown
    asked = [line["custom_id"] for line in read_lines(path)]
    assert names(client.lines(shown["output_file_id"])) == asked
    return len(asked)


@pytest.mark.large
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_somebody_is_always_dead(installation: Installation, tmp_path: Path, seed: int) -> None:
    """kill -9 of the service, its front, workers, their children, beat: what was accepted is answered, each line once,
    and can be fetched; the provider has been asked nothing that is not on the books."""
    draw = random.Random(seed)
    with sandbox(tmp_path, "--latency", "0.1-0.4", "--seed", str(seed)) as provider:
        installation.mill.environ["OPENAI_BASE_URL"] = provider.url
        made = installation.mill.quickly("keys", "create", "--json")
        client = replace(installation.client, token=json.loads(made.stdout)["key"])
        installation.tend()
        producers = [Producer(client, tmp_path, 10 * seed + nth) for nth in range(PRODUCERS)]
        for producer in producers:
            producer.start()
        wait_until(lambda: bool(provider.calls()), PATIENCE_S)
        struck = []
        for _ in range(KILLS):
            struck.append(installation.strike(draw))
            until = time.monotonic() + draw.uniform(0.3, 2.0)
            while time.monotonic() < until:
                installation.tend()
                time.sleep(0.05)
        for producer in producers:
            producer.is_over.set()
        while any(producer.is_alive() for producer in producers):
            installation.tend()
            time.sleep(0.05)
        assert [producer.error for producer in producers if producer.error] == []
        batches = {name: path for producer in producers for name, path in producer.batches.items()}
        lines = fetch_all(installation, client, batches)
        ask_doctor(installation.mill, provider)
        print(f"\nseed {seed}: {', '.join(struck)} killed; {len(batches)} batches, {lines} lines")
