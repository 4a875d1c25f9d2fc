"""Stopped by a signal, or parts of it killed: the run ends tidily or goes on; the same command finishes the batch."""

import json
import os
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.mill import (
    Mill,
    Sandbox,
    assert_told,
    chat_line,
    read_lines,
    sandbox,
    wait_until,
    write_lines,
)

LINES = 48
SLOW = ("--latency", "0.3")
IN_FLIGHT = 4


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Different questions: four seconds of work, four at a time."""
    return write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(LINES)])


@pytest.fixture
def command(source: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    """The run that is handled roughly."""
    return ("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", str(IN_FLIGHT))


def assert_answered(output: Path) -> None:
    """Every line, once, in input order."""
    assert [line["custom_id"] for line in read_lines(output)] == [f"c{n}" for n in range(LINES)]


def assert_no_call_twice(witness: Sandbox) -> None:
    """Each (request, attempt) has reached the provider once at most."""
    names = Counter(call["client_request_id"] for call in witness.calls())
    assert max(names.values()) == 1


def test_a_signal_stops_the_run(mill: Mill, tmp_path: Path, command: tuple[str | Path, ...]) -> None:
    """Calls in flight finish, exit 130, nothing is left running; the same command asks only for the rest."""
    with sandbox(tmp_path, *SLOW) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            called = len(witness.calls())
            run = mill.start(*command)
            wait_until(lambda called=called: len(witness.calls()) >= called + 6, 30)  # type: ignore[misc]
            # As a terminal does it: to the whole group.
            os.killpg(run.pid, number)
            _, said = run.communicate(timeout=30)
            assert run.returncode == 130, said
            assert_told(said)
            assert f"stopped by {number.name}; nothing is lost" in said
            assert "run the same command again" in said
            assert mill.processes() == []
            assert mill.states() == {"paused": 1}
        report = mill.run(*command[1:])
        assert (report["unknown_attempts"], report["calls"], len(witness.calls())) == (0, LINES, LINES)
    assert_answered(tmp_path / "out.jsonl")


def test_a_second_signal_ends_the_run_at_once(
    mill: Mill, tmp_path: Path, command: tuple[str | Path, ...]
) -> None:
    """Not waiting for calls that take long; those are unknown, and the same command asks again."""
    with sandbox(tmp_path, "--latency", "20") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= IN_FLIGHT, 30)
        os.killpg(run.pid, signal.SIGINT)
        time.sleep(1)
        assert run.poll() is None
        os.killpg(run.pid, signal.SIGINT)
        begun = time.monotonic()
        _, said = run.communicate(timeout=30)
        assert time.monotonic() - begun < 10
        assert run.returncode == 130
        assert "stopped at once" in said
        assert_told(said)
        assert mill.processes() == []
    with sandbox(tmp_path, "--port", witness.port):
        report = mill.run(*command[1:])
    assert report["unknown_attempts"] == IN_FLIGHT
    assert_answered(tmp_path / "out.jsonl")


def test_only_the_command_is_killed(mill: Mill, tmp_path: Path, command: tuple[str | Path, ...]) -> None:
    """Its worker finishes the calls in flight and goes by itself; the next command reaps the broker and goes on."""
    with sandbox(tmp_path, *SLOW) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= 8, 30)
        brokers = mill.brokers()
        assert brokers
        run.kill()
        run.communicate()
        wait_until(lambda: mill.processes() == brokers, 10)
        called = len(witness.calls())
        assert called < LINES
        report = mill.run(*command[1:])
        assert (report["unknown_attempts"], len(witness.calls())) == (0, LINES)
        assert mill.processes() == []
    assert_answered(tmp_path / "out.jsonl")


def test_killed_while_its_worker_starts(mill: Mill, command: tuple[str | Path, ...]) -> None:
    """However early the command dies, its worker does not outlive it."""
    mill.environ["OPENAI_BASE_URL"] = "http://127.0.0.1:9/v1"
    run = mill.start(*command)
    wait_until(lambda: mill.worker_parents() != [], 30, 0.002)
    run.kill()
    wait_until(lambda: mill.worker_parents() == [], 30)


def test_given_up_after_a_kill(mill: Mill, tmp_path: Path, command: tuple[str | Path, ...]) -> None:
    """The batch that was given up with --fresh comes for the output no more, however late its worker ends."""
    other = write_lines(tmp_path / "other.jsonl", [chat_line("o", "something else")])
    output = tmp_path / "out.jsonl"
    with sandbox(tmp_path, "--latency", "4") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= IN_FLIGHT, 30)
        run.kill()
        for options in (("--fresh",), ()):
            assert mill.run(other, "-o", output, *options)["total"] == 1
            assert [line["custom_id"] for line in read_lines(output)] == ["o"]
        wait_until(lambda: mill.worker_parents() == [], 30)
    with sandbox(tmp_path, "--port", witness.port):
        assert mill.run(*command[1:])["completed"] == LINES
    assert_answered(output)
    assert mill.states() == {"cancelled": 1, "completed": 3}


@pytest.mark.parametrize("part", ["worker_parents", "worker_children", "brokers"])
def test_a_part_is_killed(mill: Mill, tmp_path: Path, command: tuple[str | Path, ...], part: str) -> None:
    """The run notices, starts it again and goes on without being told; calls cut off are unknown and asked again."""
    with sandbox(tmp_path, *SLOW) as witness:
        mill.environ |= {"OPENAI_BASE_URL": witness.url, "BATCHMILL_LEASE_S": "120"}
        run = mill.start(*command, "--json")
        wait_until(lambda: len(witness.calls()) >= 8, 30)
        assert getattr(mill, part)()
        for pid in getattr(mill, part)():
            os.kill(pid, signal.SIGKILL)
        _, said = run.communicate(timeout=60)  # which is too short for a lease to run out
        assert run.returncode == 0, said + mill.worker_log()
        assert "Traceback" not in said
        assert_no_call_twice(witness)
        assert LINES <= len(witness.calls()) <= LINES + IN_FLIGHT
    assert mill.processes() == []
    assert_answered(tmp_path / "out.jsonl")


def test_a_worker_sleeps_beyond_its_lease(
    mill: Mill, tmp_path: Path, command: tuple[str | Path, ...]
) -> None:
    """A stopped process that wakes up makes no call under the lease it lost; every line is answered once."""
    mill.environ["BATCHMILL_LEASE_S"] = "1"
    with sandbox(tmp_path, *SLOW) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= 8, 30)
        (sleeper,) = mill.worker_children()
        os.kill(sleeper, signal.SIGSTOP)
        wait_until(lambda: mill.query("SELECT count(*) FROM claims") == [(0,)], 15)
        os.kill(sleeper, signal.SIGCONT)
        _, said = run.communicate(timeout=60)
        assert run.returncode == 0, said + mill.worker_log()
        assert_no_call_twice(witness)
        assert LINES <= len(witness.calls()) <= LINES + IN_FLIGHT
    assert_answered(tmp_path / "out.jsonl")


def test_killed_while_the_input_is_taken_in(mill: Mill, tmp_path: Path) -> None:
    """Nothing half-enqueued: the next command, of whatever output, drops the rows; the same command starts over."""
    many = [chat_line(f"c{n}", f"question {n}") for n in range(40_000)]
    source = write_lines(tmp_path / "many.jsonl", many)
    few = write_lines(tmp_path / "few.jsonl", [chat_line("c0", "question 0")])
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start("run", source, "-o", tmp_path / "out.jsonl")
        wait_until(lambda: (mill.home / "batchmill.db").exists(), 30)
        wait_until(lambda: mill.query("SELECT 1 FROM sqlite_master WHERE name = 'sweeps'") != [], 30)
        wait_until(lambda: mill.query("SELECT count(*) FROM requests") > [(2_000,)], 30)
        mill.kill_everything()
        run.communicate()
        assert mill.states() == {"validating": 1}
        assert witness.calls() == []
        mill.run(few, "-o", tmp_path / "other.jsonl")
        assert mill.query("SELECT count(*) FROM requests") == [(1,)]
        assert mill.states() == {"failed": 1, "completed": 1}


def test_killed_while_the_answers_are_written(mill: Mill, tmp_path: Path) -> None:
    """No half a file under the output's name; the same command delivers it whole, and removes what was half-written."""
    lines = [chat_line(f"c{n}", "same") for n in range(20_000)]
    source, output = write_lines(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl"
    long_answer = {"question": "same", "reply": "so that the writing takes a while " * 150}
    replies = write_lines(tmp_path / "replies.jsonl", [json.dumps(long_answer)])
    with sandbox(tmp_path, "--replies", str(replies)) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start("run", source, "-o", output)
        wait_until(lambda: has_begun(output), 90, 0.002)
        mill.kill_everything()
        run.communicate()
        assert not output.exists()
        assert len(list(tmp_path.glob(".*.part"))) == 1
        report = mill.run(source, "-o", output)
        assert (report["completed"], len(witness.calls())) == (20_000, 1)
    assert list(tmp_path.glob(".*.part")) == []
    assert len(read_lines(output)) == 20_000


def has_begun(output: Path) -> bool:
    """Whether lines stand in a temporary file of this output (one of no size is the check at the start)."""
    for part in output.parent.glob(f".{output.name}.*.part"):
        with suppress(FileNotFoundError):
            if part.stat().st_size:
                return True
    return False
