"""What surrounds a run is missing, wrong, full, locked or broken: a clear error, and nothing is lost."""

import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.mill import Mill, assert_told, chat_line, read_lines, sandbox, wait_until, write_lines
from tests.support.servers import PostgresCluster, start_valkey

QUICK = {"BATCHMILL_GIVE_UP_S": "2", "BATCHMILL_BACKOFF_BASE_S": "0.05", "BATCHMILL_GRACE_S": "2"}
NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Forty different questions."""
    return write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(40)])


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OPENAI_BASE_URL": "", "OPENAI_API_KEY": ""}, ["OPENAI_API_KEY is not set", "batchmill sandbox"]),
        ({"OPENAI_BASE_URL": "nonsense"}, ["OPENAI_BASE_URL"]),
        ({"OPENAI_BASE_URL": "http://user:secret@127.0.0.1/v1"}, ["OPENAI_BASE_URL", "user or password"]),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:nine/v1"}, ["OPENAI_BASE_URL"]),
        ({"OPENAI_BASE_URL": "http://exa mple/v1"}, ["OPENAI_BASE_URL"]),
        ({"BATCHMILL_HOME": "/proc/nowhere"}, ["the home", "BATCHMILL_HOME"]),
        ({"BATCHMILL_HOME": "/dev/null"}, ["the home", "BATCHMILL_HOME"]),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing"}, ["127.0.0.1:9", "database is up"]),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:port/nothing"}, ["DATABASE_URL"]),
        ({"DATABASE_URL": "mysql://127.0.0.1/nothing"}, ["DATABASE_URL", "sqlite"]),
        ({"DATABASE_URL": "sqlite:////proc/nowhere/mill.db"}, ["/proc/nowhere"]),
        ({"BROKER_URL": "redis://127.0.0.1:9/0"}, ["redis://127.0.0.1:9", "BROKER_URL"]),
        ({"BROKER_URL": "redis://:secret@127.0.0.1:port/0"}, ["BROKER_URL"]),
        ({"BROKER_URL": "amqp://guest@127.0.0.1:9//"}, ["127.0.0.1:9", "BROKER_URL"]),
        ({"BROKER_URL": "carrier-pigeon://roof"}, ["BROKER_URL"]),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_settings_that_lead_nowhere(
    mill: Mill, source: Path, tmp_path: Path, environ: dict[str, str], expected: list[str]
) -> None:
    """Named, with a hint, without the secret in them; and no batch is left behind."""
    mill.environ |= QUICK | {"OPENAI_BASE_URL": NOWHERE} | environ
    said = mill.refused("run", source, "-o", tmp_path / "out.jsonl", "--json")
    for words in expected:
        assert words in said
    assert "hint: " in said
    assert "secret" not in said
    assert mill.processes() == []
    if (mill.home / "batchmill.db").exists():
        assert mill.query("SELECT count(*) FROM requests") == [(0,)]


@pytest.mark.parametrize("cause", ["sandbox/401", "sandbox/quota"])
def test_the_account_is_blocked(mill: Mill, tmp_path: Path, cause: str) -> None:
    """The run stops with the provider's reason, exit 1; once that is put right the same command goes on."""
    lines = [chat_line(f"c{n}", f"question {n}", model="gpt-4o-mini") for n in range(30)]
    lines[20] = chat_line("c20", "question 20", model=cause)
    source, output = write_lines(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"
    command = ("run", source, "-o", output, "--concurrency", "4")
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        said = mill.refused(*command)
        assert {"sandbox/401": "Incorrect API key", "sandbox/quota": "exceeded your current quota"}[
            cause
        ] in said
        assert "run the same command again" in said
        assert mill.states() == {"paused": 1}
        # The sandbox blocks by model, so it is put right where the model is kept.
        change = "UPDATE inputs SET model = 'gpt-4o-mini', body = replace(body, ?, 'gpt-4o-mini')"
        with closing(sqlite3.connect(mill.home / "batchmill.db")) as connection, connection:
            connection.execute(change, (cause,))
        report = mill.run(*command[1:])
        assert report["completed"] == 30
        good = [call["client_request_id"] for call in witness.calls() if call["model"] == "gpt-4o-mini"]
        assert len(good) == len(set(good)) == 30
    assert [line["custom_id"] for line in read_lines(output)] == [f"c{n}" for n in range(30)]


def test_the_provider_is_down_and_stays_down(mill: Mill, source: Path, tmp_path: Path) -> None:
    """The run gives up after its patience and says why; once somebody is there the same command goes on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mill.environ |= QUICK | {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
    said = mill.refused("run", source, "-o", tmp_path / "out.jsonl", "--json")
    assert "the provider has not been reached for 2 s" in said
    assert f"127.0.0.1:{port}" in said
    assert mill.processes() == []
    with sandbox(tmp_path, "--port", str(port)):
        assert mill.run(source, "-o", tmp_path / "out.jsonl")["completed"] == 40
    assert mill.states() == {"completed": 1}


def test_the_provider_goes_and_comes_back(mill: Mill, source: Path, tmp_path: Path) -> None:
    """In the middle, for two seconds: the run goes on by itself, and every line is answered."""
    mill.environ |= {"BATCHMILL_BACKOFF_BASE_S": "0.2", "BATCHMILL_BACKOFF_CAP_S": "0.5"}
    with sandbox(tmp_path, "--latency", "0.2") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", "4")
        wait_until(lambda: len(witness.calls()) >= 10, 30)
        witness.process.kill()
        witness.process.wait()
    time.sleep(2)
    with sandbox(tmp_path, "--port", witness.port):
        _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert [line["custom_id"] for line in read_lines(tmp_path / "out.jsonl")] == [f"c{n}" for n in range(40)]


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """The database's write lock, held by somebody else."""
    connection = sqlite3.connect(database, isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def test_the_database_is_locked_for_a_while(mill: Mill, source: Path, tmp_path: Path) -> None:
    """Three seconds in the middle of a run: it goes on by itself."""
    with sandbox(tmp_path, "--latency", "0.2") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", "4")
        wait_until(lambda: len(witness.calls()) >= 10, 30)
        with locked(mill.home / "batchmill.db"):
            time.sleep(3)
        _, said = run.communicate(timeout=60)
        assert run.returncode == 0, said
        assert len(witness.calls()) == 40


def test_the_database_stays_locked(mill: Mill, source: Path, tmp_path: Path) -> None:
    """A clear error after the patience, in the middle of a run and at its start; then the same command goes on."""
    mill.environ |= QUICK | {"BATCHMILL_DATABASE_WAIT_S": "1", "BATCHMILL_GRACE_S": "0"}
    command = ("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", "4")
    with sandbox(tmp_path, "--latency", "0.2") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= 10, 30)
        with locked(mill.home / "batchmill.db"):
            _, said = run.communicate(timeout=60)
            assert run.returncode == 1
            assert_told(said)
            assert "database is locked" in said
            assert mill.processes() == []
            assert "database is locked" in mill.refused(*command)
        report = mill.run(*command[1:])
    assert report["completed"] == 40
    assert len(read_lines(tmp_path / "out.jsonl")) == 40


def test_a_damaged_database(mill: Mill, source: Path, tmp_path: Path) -> None:
    """Told as such, with what to do; not taken for an empty one."""
    mill.home.mkdir()
    (mill.home / "batchmill.db").write_bytes(b"this is no database, whatever its name says" * 100)
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    said = mill.refused("run", source, "-o", tmp_path / "out.jsonl")
    assert "file is not a database" in said
    assert "it is damaged" in said


def test_the_database_is_deleted_while_in_use(mill: Mill, source: Path, tmp_path: Path) -> None:
    """The run ends with a clear error or finishes; run again, it answers every line, with nothing in the way."""
    command = ("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", "4")
    mill.environ |= QUICK
    with sandbox(tmp_path, "--latency", "0.2") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= 10, 30)
        for file in mill.home.glob("batchmill.db*"):
            file.unlink()
        _, said = run.communicate(timeout=60)
        if run.returncode != 0:
            assert_told(said)
        assert mill.processes() == []
        assert mill.run(*command[1:])["completed"] == 40


def test_the_worker_cannot_work(mill: Mill, source: Path, tmp_path: Path) -> None:
    """What the worker complains of in its log is told to whoever waits for it, and the run gives up."""
    mill.environ |= QUICK
    (mill.home / "run").mkdir(parents=True)
    (mill.home / "run" / "workers").touch()  # where a folder is to be
    command = ("run", source, "-o", tmp_path / "out.jsonl")
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        said = mill.refused(*command)
        assert "nothing has moved for 2 s: FileExistsError" in said
        assert str(mill.home / "logs" / "worker.log") in said
        assert mill.processes() == []
        (mill.home / "run" / "workers").unlink()
        assert mill.run(*command[1:])["completed"] == 40


def test_the_worker_keeps_dying(mill: Mill, source: Path, tmp_path: Path) -> None:
    """It is started again some times, then the run gives up with a clear error."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    run = mill.start("run", source, "-o", tmp_path / "out.jsonl")
    while run.poll() is None:
        for pid in mill.worker_parents():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    _, said = run.communicate()
    assert run.returncode == 1
    assert_told(said)
    assert "the worker died 6 times without answering anything" in said
    assert mill.processes() == []


def test_a_broker_of_one_s_own_goes_away(mill: Mill, source: Path, tmp_path: Path) -> None:
    """It carries hints only: the run finishes without it."""
    broker = start_valkey(tmp_path / "broker")
    with sandbox(tmp_path, "--latency", "0.2") as witness:
        mill.environ |= {"OPENAI_BASE_URL": witness.url, "BROKER_URL": broker.connection_url}
        run = mill.start("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", "4")
        wait_until(lambda: len(witness.calls()) >= 10, 30)
        assert mill.brokers() == []
        broker.stop()
        _, said = run.communicate(timeout=60)
        assert run.returncode == 0, said + mill.worker_log()
        assert len(witness.calls()) == 40
    assert mill.processes() == []


def test_slow_calls_are_waited_for_without_a_broker(mill: Mill, tmp_path: Path) -> None:
    """Nothing moves for longer than a run is patient, but only because the calls take their time."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(4)])
    broker = start_valkey(tmp_path / "broker")
    with sandbox(tmp_path, "--latency", "4") as witness:
        mill.environ |= QUICK | {"OPENAI_BASE_URL": witness.url, "BROKER_URL": broker.connection_url}
        mill.environ["BATCHMILL_GIVE_UP_S"] = "1"
        run = mill.start("run", source, "-o", tmp_path / "out.jsonl")
        wait_until(lambda: len(witness.calls()) == 4, 30)
        broker.stop()
        _, said = run.communicate(timeout=60)
        assert run.returncode == 0, said + mill.worker_log()


@pytest.mark.parametrize("name", ["tasks.py", "db.py", "celeryconfig.py"])
def test_files_of_ours_by_name(mill: Mill, source: Path, tmp_path: Path, name: str) -> None:
    """What lies in the folder where the command is given, under a name that we use as well, is not run."""
    (tmp_path / name).write_text("raise SystemExit('their own file was run')\n")
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        assert mill.run(source.name, "-o", "out.jsonl")["completed"] == 40
    assert "file was run" not in mill.worker_log()


def test_a_shared_database_restarts(
    mill: Mill, source: Path, tmp_path: Path, postgres: PostgresCluster
) -> None:
    """Connections that a server cuts are made anew: the run goes on, and no line is asked twice for it."""
    url = postgres.create()
    with sandbox(tmp_path, "--latency", "0.2") as witness:
        mill.environ |= {"OPENAI_BASE_URL": witness.url, "DATABASE_URL": url}
        run = mill.start("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", "4")
        wait_until(lambda: len(witness.calls()) >= 10, 30)
        for _ in range(3):
            postgres.kill_connections(url)
            time.sleep(0.3)
        _, said = run.communicate(timeout=60)
        assert run.returncode == 0, said + mill.worker_log()
        assert len(witness.calls()) == 40
    assert mill.processes() == []
    postgres.drop(url)


def _limited(mill: Mill, largest_file_bytes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command on a disk on which no file can grow beyond a size."""
    limit = (largest_file_bytes, largest_file_bytes)
    return subprocess.run(
        [str(Path(os.sys.executable).with_name("batchmill")), *map(str, arguments)],
        env=mill.environment(),
        cwd=mill.folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )


def test_no_room_for_the_output(mill: Mill, tmp_path: Path) -> None:
    """A clear error and no half a file; with room again, the same command delivers without another call."""
    replies = write_lines(
        tmp_path / "replies.jsonl", [json.dumps({"question": "long", "reply": "x" * 40_000})]
    )
    source = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", "long") for n in range(200)])
    command = ("run", source, "-o", tmp_path / "out.jsonl")
    with sandbox(tmp_path, "--replies", str(replies)) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        done = _limited(mill, 4_000_000, *command)
        assert done.returncode == 1
        assert_told(done.stderr)
        assert "File too large" in done.stderr
        assert sorted(path.name for path in tmp_path.glob("*out*")) == []
        assert list(tmp_path.glob(".*.part")) == []
        report = mill.run(*command[1:])
        assert (report["completed"], len(witness.calls())) == (200, 1)
    assert len(read_lines(tmp_path / "out.jsonl")) == 200


def test_no_room_for_the_database(mill: Mill, tmp_path: Path) -> None:
    """While the input is taken in: a clear error, nothing half-enqueued; with room again it runs."""
    source = write_lines(
        tmp_path / "in.jsonl", [chat_line(f"c{n}", f"{n}" + "x" * 9_000) for n in range(500)]
    )
    command = ("run", source, "-o", tmp_path / "out.jsonl")
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        done = _limited(mill, 1_500_000, *command)
        assert done.returncode == 1
        assert_told(done.stderr)
        assert "database" in done.stderr
        assert witness.calls() == []
        report = mill.run(*command[1:])
    assert report["completed"] == 500
    assert mill.query("SELECT count(*) FROM requests") == [(500,)]


def test_the_folder_of_the_output_vanishes(mill: Mill, source: Path, tmp_path: Path) -> None:
    """A clear error at the end; the folder made again, the same command delivers without another call."""
    folder = tmp_path / "results"
    folder.mkdir()
    command = ("run", source, "-o", folder / "out.jsonl")
    with sandbox(tmp_path, "--latency", "0.5") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= 1, 30)
        shutil.rmtree(folder)
        _, said = run.communicate(timeout=60)
        assert run.returncode == 1
        assert_told(said)
        assert "mkdir -p" in said
        folder.mkdir()
        report = mill.run(*command[1:])
        assert (report["completed"], len(witness.calls())) == (40, 40)
    assert mill.states() == {"completed": 1}
