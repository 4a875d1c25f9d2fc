"""submit, worker, status, results, list: a batch is handed in, answered by others, looked at and collected."""

import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.mill import BATCHMILL, Mill, assert_told, chat_line, sandbox, wait_until, write_lines
from tests.support.servers import PostgresCluster

NOWHERE = "http://127.0.0.1:9/v1"


def questions(folder: Path, count: int, name: str = "in.jsonl") -> Path:
    """An input of so many different questions."""
    return write_lines(folder / name, [chat_line(f"c{n}", f"question {n} of {name}") for n in range(count)])


def submit(mill: Mill, *arguments: object) -> str:
    """Submit, which has to succeed; the batch's id."""
    done = mill("submit", *map(str, arguments))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"batch_[0-9a-f]{24}\n", done.stdout)
    return done.stdout.strip()


def status_of(mill: Mill, batch: str = "latest") -> dict[str, Any]:
    """`status --json`."""
    done = mill.quickly("status", batch, "--json")
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def ids(text: str) -> list[str]:
    """The custom_ids of result lines."""
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


def test_submitted_answered_and_collected(mill: Mill, tmp_path: Path) -> None:
    """submit returns at once with the id; `worker --until-idle` answers it and ends; results come in input order,
    to the terminal or to files as `run` writes them; nothing is left running."""
    lines = [chat_line(f"c{n}", f"question {n}") for n in range(30)]
    lines[7] = chat_line("c7", "no such model", model="sandbox/404")
    source = write_lines(tmp_path / "in.jsonl", lines)
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        done = mill("submit", source, "--json")
        submitted = json.loads(done.stdout)
        assert (submitted["total"], submitted["state"]) == (30, "in_progress")
        assert "start one with `batchmill worker`" in done.stderr
        assert mill.processes() == []
        assert witness.calls() == []
        assert "30 lines still open" in mill.refused("results", "latest", "-o", tmp_path / "out.jsonl")

        worker = mill("worker", "--until-idle")
        assert worker.returncode == 0, worker.stderr + mill.worker_log()
        assert mill.processes() == []
    shown = status_of(mill, submitted["id"][:12])
    assert (shown["state"], shown["completed"], shown["failed"], shown["pending"]) == ("completed", 29, 1, 0)
    printed = mill("results", "latest")
    assert ids(printed.stdout) == [f"c{n}" for n in range(30)]
    written = mill("results", "latest", "-o", tmp_path / "out.jsonl")
    assert (printed.returncode, written.returncode) == (1, 1)  # not every line is answered
    assert ids((tmp_path / "out.errors.jsonl").read_text()) == ["c7"]
    both = (tmp_path / "out.jsonl").read_text() + (tmp_path / "out.errors.jsonl").read_text()
    assert sorted(both.splitlines()) == sorted(printed.stdout.splitlines())
    assert read_by_nobody(mill, "results", "latest", "--follow") == ""


def read_by_nobody(mill: Mill, *arguments: str) -> str:
    """What a command complains of whose reader has left, as in `| head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed_pipe:
        done = subprocess.run(
            [BATCHMILL, *arguments],
            env=mill.environment(),
            stdout=closed_pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=90,
            check=False,
        )
    return done.stderr


def test_bad_lines_are_told_and_nothing_is_accepted(mill: Mill, tmp_path: Path) -> None:
    """Every bad line with its number, exit 1, no batch that could run."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line("a", "fine"), "no JSON", chat_line("a", "again")])
    said = mill.refused("submit", source)
    assert "line 2: " in said
    assert "line 3: duplicate_custom_id" in said
    assert mill.states() == {"failed": 1}
    assert "was not accepted" in mill.refused("results", "latest")


def test_a_submission_is_killed(mill: Mill, tmp_path: Path) -> None:
    """kill -9 in the middle: nothing is half-accepted; the next command that works on the home discards it."""
    source = questions(tmp_path, 60_000)
    few = questions(tmp_path, 2, "few.jsonl")
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    kept = submit(mill, few)
    submitting = mill.start("submit", source)
    wait_until(lambda: mill.query("SELECT count(*) FROM requests") > [(2_002,)], 60, 0.005)
    os.killpg(submitting.pid, signal.SIGKILL)
    submitting.communicate()
    assert mill("pause", kept).returncode == 0
    assert mill.states() == {"paused": 1, "failed": 1}
    assert mill.query("SELECT count(*) FROM requests") == [(2,)]


def test_a_worker_serves_until_it_is_stopped(mill: Mill, tmp_path: Path) -> None:
    """What is submitted later is found by itself; --watch and --follow see it to its end; Ctrl-C lets calls in flight
    finish and exits 0."""
    with sandbox(tmp_path, "--latency", "0.2") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        worker = mill.start("worker", "--concurrency", "4")
        wait_until(lambda: (mill.home / "run" / "serving" / "home").exists(), 30)
        done = mill("submit", questions(tmp_path, 20))
        assert "start one" not in done.stderr
        followed = mill("results", "latest", "--follow")
        assert followed.returncode == 0, followed.stderr
        assert sorted(ids(followed.stdout)) == sorted(f"c{n}" for n in range(20))
        watched = mill("status", "latest", "--watch", "--json")
        assert watched.returncode == 0
        assert json.loads(watched.stdout.splitlines()[-1])["state"] == "completed"

        submit(mill, questions(tmp_path, 200, "more.jsonl"))
        wait_until(lambda: len(witness.calls()) >= 30, 30)
        os.killpg(worker.pid, signal.SIGINT)
        _, said = worker.communicate(timeout=40)
        assert worker.returncode == 0, said
        assert "stopped by SIGINT; nothing is lost" in said
        assert mill.processes() == []
        shown = status_of(mill)
        assert (shown["state"], shown["unknown_attempts"]) == ("in_progress", 0)
        assert shown["completed"] == len(witness.calls()) - 20


def _command_only(mill: Mill, worker: int, _: int) -> list[int]:
    return [worker]


def _what_it_started(mill: Mill, worker: int, _: int) -> list[int]:
    return [*mill.worker_children(), *mill.brokers()]


def _everything(mill: Mill, worker: int, follower: int) -> list[int]:
    return [pid for pid in mill.processes() if pid != follower]


@pytest.mark.parametrize("victims_of", [_everything, _command_only, _what_it_started])
def test_a_worker_is_killed_half_way(
    mill: Mill, tmp_path: Path, victims_of: Callable[[Mill, int, int], list[int]]
) -> None:
    """Nothing lost, nothing twice: a follower prints each line once through kill -9; what was called again was
    unknown, and no more than was in flight. What is killed below the command is started again."""
    with sandbox(tmp_path, "--latency", "0.2") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        submit(mill, questions(tmp_path, 80))
        worker = mill.start("worker", "--until-idle", "--concurrency", "4")
        follower = mill.start("results", "latest", "--follow")
        wait_until(lambda: len(witness.calls()) >= 20, 60)
        victims = victims_of(mill, worker.pid, follower.pid)
        assert victims
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        if worker.pid in victims:
            worker.communicate()
            worker = mill.start("worker", "--until-idle", "--concurrency", "4")
        _, said = worker.communicate(timeout=60)
        assert worker.returncode == 0, said + mill.worker_log()
        printed, said = follower.communicate(timeout=60)
        assert follower.returncode == 0, said
        shown = status_of(mill)
        calls = [call["client_request_id"] for call in witness.calls()]
    assert sorted(ids(printed)) == sorted(f"c{n}" for n in range(80))
    assert (shown["completed"], shown["state"]) == (80, "completed")
    assert len(set(calls)) == len(calls)
    assert len(calls) - 80 <= shown["unknown_attempts"] <= 4
    assert mill.processes() == []


def test_workers_and_a_run_on_one_home(mill: Mill, tmp_path: Path) -> None:
    """Two workers share the work. A run's batch is its command's: they leave it alone, also once that is killed."""
    own = questions(tmp_path, 120, "own.jsonl")
    run = ("run", own, "-o", tmp_path / "own.out", "--concurrency", "1")
    with sandbox(tmp_path, "--latency", "0.3") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        workers = [mill.start("worker", "--concurrency", "4") for _ in range(2)]
        wait_until(lambda: len(mill.worker_parents()) == 2, 30)
        running = mill.start(*run)
        wait_until(lambda: len(witness.calls()) >= 2, 30)
        theirs = mill.query("SELECT id FROM batches")[0][0]
        submit(mill, questions(tmp_path, 40))
        assert mill("status", "latest", "--watch").returncode == 0
        sharing = f"SELECT count(DISTINCT worker_id) FROM attempts WHERE request_id >> 32 = {theirs}"
        assert mill.query(sharing) == [(1,)]
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        wait_until(lambda: mill.states() == {"paused": 1, "completed": 1}, 20)
        assert "run the same command again" in mill.refused("resume", mill.query(_ID_OF_RUN)[0][0])
        assert mill.run(*run[1:-1], "32")["completed"] == 120
        for worker in workers:
            os.killpg(worker.pid, signal.SIGTERM)
            _, said = worker.communicate(timeout=40)
            assert worker.returncode == 0, said
    assert mill.processes() == []


_ID_OF_RUN = "SELECT public_id FROM batches WHERE output_path IS NOT NULL"


def test_list_shows_the_newest_first(mill: Mill, tmp_path: Path) -> None:
    """Filtered, page by page, as a table or JSON."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    source = questions(tmp_path, 2)
    names = [
        submit(mill, source, *options) for options in ((), ("--job-name", "nightly", "--deadline", "1d"))
    ]
    table = mill("list", "--limit", "1")
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["ID", names[1]]
    assert f"--after {names[1]}" in table.stderr
    found = json.loads(mill.quickly("list", "--after", names[1], "--state", "in_progress", "--json").stdout)
    assert [(batch["id"], batch["pending"]) for batch in found] == [(names[0], 2)]
    assert "0 of 2 answered, 2 pending" in mill.quickly("status", names[0][:12]).stdout
    (nightly,) = json.loads(mill.quickly("list", "--job-name", "nightly", "--json").stdout)
    assert (nightly["id"], nightly["deadline"] > nightly["created_at"]) == (names[1], True)
    assert '"batch_ffffff"' in mill.refused("cancel", names[0], "batch_ffffff")
    assert mill.states() == {"in_progress": 2}
    cancelled = mill("cancel", *names, "--json").stdout.splitlines()
    assert [json.loads(line) for line in cancelled] == [{"id": name, "state": "cancelled"} for name in names]


def test_only_looking_makes_no_home(mill: Mill) -> None:
    """Where there is nothing yet, `list` says so and every other command names the missing batch; no folder is made."""
    listed = mill.quickly("list")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "there is no database yet" in listed.stderr
    assert json.loads(mill.quickly("list", "--json").stdout) == []
    for command in ("status", "cancel"):
        said = mill.refused(command, "latest")
        assert 'there is no batch "latest"' in said
        assert "batchmill list" in said
    assert not mill.home.exists()


def test_a_database_of_another_version(mill: Mill, tmp_path: Path, postgres: PostgresCluster) -> None:
    """A newer one is refused; so is a shared one that is not up to date, with the command that makes it so."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    submit(mill, questions(tmp_path, 1))
    with closing(sqlite3.connect(mill.home / "batchmill.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert "use a newer batchmill" in mill.refused("list")
    url = postgres.create(empty=True)
    mill.environ["DATABASE_URL"] = url
    assert "`batchmill db upgrade`" in mill.refused("status", "latest")
    postgres.drop(url)


def test_wrong_options_are_misuse(mill: Mill, tmp_path: Path) -> None:
    """Exit 2 before anything is looked at."""
    for wrong in (("--partial",), ("--follow", "-o", "out")):
        done = mill.quickly("results", "latest", *wrong)
        assert done.returncode == 2
        assert_told(done.stderr)
    mill.environ |= {"DATABASE_URL": "postgresql://nobody@nowhere.invalid/none", "OPENAI_BASE_URL": NOWHERE}
    assert mill.quickly("worker", "--until-idle").returncode == 2
    said = mill.refused("worker")
    assert "BROKER_URL (or REDIS_URL) is not set" in said


def test_watching_is_interrupted(mill: Mill, tmp_path: Path) -> None:
    """Ctrl-C ends the watching only, and says so; without a terminal too."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    submit(mill, questions(tmp_path, 2))
    for command in (("status", "latest", "--watch", "--json"), ("results", "latest", "--follow")):
        process = mill.start(*command)
        if "--json" in command:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["state"] == "in_progress"
        else:
            wait_until(lambda pid=process.pid: _sleeps(pid), 30)  # type: ignore[misc]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "the batch goes on" in said
    assert mill.states() == {"in_progress": 1}


def _sleeps(pid: int) -> bool:
    """Whether it waits between two looks, as it does at `clock_nanosleep` only."""
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()
