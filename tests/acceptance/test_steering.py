"""cancel, pause, resume: a batch is steered from outside, with and without anybody at work on it."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.test_submit_and_collect import ids, questions, status_of, submit
from tests.support.mill import Mill, Sandbox, assert_told, sandbox, wait_until

NOWHERE = "http://127.0.0.1:9/v1"
MANY = 400
"""Half a minute of work and more, four at a time; a few seconds for a worker that may."""


def calls_rest(mill: Mill, witness: Sandbox, in_flight: int) -> int:
    """How many calls there have been once those in flight have ended, and none follows them."""
    before = len(witness.calls())
    wait_until(lambda: mill.query("SELECT count(*) FROM attempts WHERE state = 'sent'") == [(0,)], 60)
    after = len(witness.calls())
    assert after - before <= in_flight
    time.sleep(1)
    assert len(witness.calls()) == after
    return after


def test_paused_and_resumed_while_calls_are_out(mill: Mill, tmp_path: Path) -> None:
    """After pause no call starts; --watch ends there, --follow says so and waits; resume lets all of it go on."""
    with sandbox(tmp_path, "--latency", "0.5") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        batch = submit(mill, questions(tmp_path, MANY))
        worker = mill.start("worker", "--until-idle", "--concurrency", "4")
        follower = mill.start("results", batch, "--follow")
        wait_until(lambda: len(witness.calls()) >= 8, 60)
        paused = mill("pause", batch, "--reason", "lunch")
        assert (paused.returncode, paused.stdout) == (0, f"{batch} paused\n"), paused.stderr
        so_far = calls_rest(mill, witness, 4)
        assert worker.wait(60) == 0  # it is idle: nothing can go on
        watched = mill("status", batch, "--watch")
        assert watched.returncode == 1
        assert "paused by hand: lunch" in watched.stdout
        assert f"{so_far} of {MANY} answered" in watched.stdout

        resumed = mill("resume", batch, "--json")
        assert json.loads(resumed.stdout) == {"id": batch, "state": "in_progress"}
        assert "start one with `batchmill worker`" in resumed.stderr
        assert mill("worker", "--until-idle").returncode == 0
        printed, said = follower.communicate(timeout=60)
        assert follower.returncode == 0
        assert "is paused: paused by hand: lunch; waiting" in said
        assert sorted(ids(printed)) == sorted(f"c{n}" for n in range(MANY))
        assert (so_far < MANY, len(witness.calls())) == (True, MANY)


def test_a_run_waits_while_it_is_paused_by_hand(mill: Mill, tmp_path: Path) -> None:
    """It goes on waiting beyond its patience, says how to resume, makes no call, and finishes once resumed."""
    output = tmp_path / "out.jsonl"
    mill.environ["BATCHMILL_GIVE_UP_S"] = "1"
    with sandbox(tmp_path, "--latency", "2") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start("run", questions(tmp_path, 64), "-o", output, "--concurrency", "8")
        wait_until(lambda: len(witness.calls()) >= 8, 60)
        assert mill("pause", "latest").returncode == 0
        so_far = calls_rest(mill, witness, 8)
        time.sleep(5)  # until the next line of its progress
        assert run.poll() is None
        assert mill("resume", "latest").returncode == 0
        _, said = run.communicate(timeout=60)
        assert run.returncode == 0, said
        assert "paused by hand; `batchmill resume batch_" in said
        assert (so_far < 64, len(witness.calls())) == (True, 64)
    assert ids(output.read_text()) == [f"c{n}" for n in range(64)]


def test_the_same_run_resumes_what_was_paused_by_hand(mill: Mill, tmp_path: Path) -> None:
    """A run that has gone cannot be resumed from outside, and says why; the same command does it."""
    command = ("run", questions(tmp_path, MANY), "-o", tmp_path / "out.jsonl", "--concurrency", "4")
    with sandbox(tmp_path, "--latency", "0.5") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= 4, 60)
        assert mill("pause", "latest").returncode == 0
        os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=30)
        assert status_of(mill)["paused_reason"] == "paused by hand"
        said = mill.refused("resume", "latest")
        assert "was made by `batchmill run`" in said
        assert "run the same command again" in said
        assert mill.run(*command[1:-1], "64")["completed"] == MANY


def test_cancelled_with_nobody_there(mill: Mill, tmp_path: Path) -> None:
    """Without any worker a batch ends at once, all of it cancelled; its lines can be read; a second time is refused."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    first, second = (submit(mill, questions(tmp_path, 5, f"{n}.jsonl")) for n in range(2))
    done = mill("cancel", first[:14])
    assert (done.returncode, done.stdout) == (0, f"{first} cancelled\n")
    printed = mill("results", first, "--follow")
    assert printed.returncode == 1
    assert ids(printed.stdout) == [f"c{n}" for n in range(5)]
    assert {json.loads(line)["error"]["code"] for line in printed.stdout.splitlines()} == {"batch_cancelled"}
    assert mill("status", first, "--watch").returncode == 1
    both = mill("cancel", first, second)
    assert (both.returncode, both.stdout) == (1, f"{second} cancelled\n")
    assert_told(both.stderr)
    assert f"batch {first} cannot be cancelled: it is cancelled" in both.stderr


def test_cancelled_while_calls_are_out(mill: Mill, tmp_path: Path) -> None:
    """No new call starts, what was answered stays, those in flight end or are cut off; then it is over."""
    mill.environ["BATCHMILL_LEASE_S"] = "3"
    with sandbox(tmp_path, "--latency", "0.3") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        submit(mill, questions(tmp_path, MANY))
        worker = mill.start("worker", "--until-idle", "--concurrency", "4")
        wait_until(lambda: len(witness.calls()) >= 8, 60)
        assert mill("cancel", "latest").stdout.split()[1] in ("cancelling", "cancelled")
        _, said = worker.communicate(timeout=60)
        assert worker.returncode == 0, said
        so_far = len(witness.calls())
        shown = status_of(mill)
        assert shown["state"] == "cancelled"
        assert shown["cancelled"] + shown["completed"] == MANY
        assert shown["completed"] + shown["unknown_attempts"] == so_far < MANY
    assert ids(mill("results", "latest").stdout) == [f"c{n}" for n in range(MANY)]


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_run_that_has_gone_is_cancelled(mill: Mill, tmp_path: Path, how: str) -> None:
    """Killed or stopped, its batch ends without it, what it had answered can be read, and its output path is free."""
    source = questions(tmp_path, MANY)
    command = ("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", "4")
    with sandbox(tmp_path, "--latency", "0.3") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        run = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= 12, 60)
        if how == "killed":
            mill.kill_everything()
        else:
            os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=40)
        cancelled = mill("cancel", "latest")
        assert cancelled.stdout.split()[1] == "cancelled", cancelled.stderr
        answered = [line for line in mill("results", "latest").stdout.splitlines() if '"error":null' in line]
        assert len(answered) == status_of(mill)["completed"] >= 8
        assert mill.run(*command[1:-1], "64")["completed"] == MANY
    assert mill.states() == {"cancelled": 1, "completed": 1}


def test_a_run_at_work_is_cancelled(mill: Mill, tmp_path: Path) -> None:
    """Its command delivers what there is: answers in one file, the cancelled lines in the other, exit 1."""
    with sandbox(tmp_path, "--latency", "0.3") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        output = tmp_path / "out.jsonl"
        run = mill.start("run", questions(tmp_path, MANY), "-o", output, "--concurrency", "4")
        wait_until(lambda: len(witness.calls()) >= 12, 60)
        assert mill("cancel", "latest").returncode == 0
        _, said = run.communicate(timeout=60)
        assert run.returncode == 1, said
    assert len(ids(output.read_text())) + len(ids((tmp_path / "out.errors.jsonl").read_text())) == MANY
    assert mill.states() == {"cancelled": 1}


def test_partial_results_in_files(mill: Mill, tmp_path: Path) -> None:
    """--partial writes what has ended, answers apart from the rest; --errors names the other file."""
    with sandbox(tmp_path, "--latency", "0.2") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        submit(mill, questions(tmp_path, MANY))
        worker = mill.start("worker", "--concurrency", "4")
        wait_until(lambda: len(witness.calls()) >= 12, 60)
        os.killpg(worker.pid, signal.SIGTERM)
        worker.communicate(timeout=40)
    done = mill("results", "latest", "-o", tmp_path / "out", "--errors", tmp_path / "bad", "--partial")
    assert done.returncode == 1
    completed = status_of(mill)["completed"]
    assert f"{MANY - completed} lines of {MANY} still open" in done.stderr
    assert len(ids((tmp_path / "out").read_text())) == completed > 0
    assert not (tmp_path / "bad").exists()
