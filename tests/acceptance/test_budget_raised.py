"""A budget that is used up, and raised while a command or a worker waits for it: it goes on by itself."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.mill import Mill, read_lines, sandbox, wait_until
from tests.support.spending import BILLED, COST_NANOS, price_file, question_file

LINES = 20
PAYABLE = 8


def usd(calls: int) -> str:
    """What so many calls cost."""
    return f"{calls * COST_NANOS / 10**9:.4f}"


def the_batch(mill: Mill) -> dict[str, Any]:
    """The only batch, as `list` shows it."""
    (batch,) = json.loads(mill.quickly("list", "--json").stdout)
    return batch


def is_paused(mill: Mill) -> bool:
    """Whether it waits."""
    return mill.states() == {"paused": 1}


def set_limit(mill: Mill, calls: int, *options: str) -> None:
    """Give the budget room for so many calls in all."""
    done = mill.quickly("budget", "set", "global", "--total", usd(calls), *options)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def priced(mill: Mill, tmp_path: Path) -> Mill:
    """An installation with a budget for some of the lines."""
    mill.environ["BATCHMILL_PRICES"] = str(price_file(tmp_path))
    set_limit(mill, PAYABLE)
    return mill


def test_a_run_that_waits_goes_on_when_the_limit_is_raised(priced: Mill, tmp_path: Path) -> None:
    """It says what it waits for, and ends with every line answered once; nobody touched it."""
    output = tmp_path / "out.jsonl"
    with sandbox(tmp_path, *BILLED) as witness:
        priced.environ["OPENAI_BASE_URL"] = witness.url
        run = priced.start("run", question_file(tmp_path / "in.jsonl", LINES), "-o", output)
        wait_until(lambda: is_paused(priced), 60)
        assert len(witness.calls()) == PAYABLE
        assert run.stderr is not None
        said = next(line for line in run.stderr if "budget has" in line)
        set_limit(priced, LINES)
        _, rest = run.communicate(timeout=60)
        calls = witness.calls()
    assert run.returncode == 0, rest
    assert f"the global budget has ${usd(PAYABLE)} of ${usd(PAYABLE)} spent" in said
    assert "batchmill budget set global" in said
    assert [line["custom_id"] for line in read_lines(output)] == [f"c{n}" for n in range(LINES)]
    assert sum(call["cost_nanos"] for call in calls) == LINES * COST_NANOS


def test_a_submitted_batch_that_waits_goes_on_when_the_limit_is_raised(priced: Mill, tmp_path: Path) -> None:
    """The worker that found no room for it goes on with it."""
    with sandbox(tmp_path, *BILLED) as witness:
        priced.environ["OPENAI_BASE_URL"] = witness.url
        priced.quickly("submit", question_file(tmp_path / "in.jsonl", LINES))
        worker = priced.start("worker")
        wait_until(lambda: is_paused(priced), 60)
        assert "the global budget has" in priced.quickly("status", the_batch(priced)["id"]).stdout
        set_limit(priced, LINES)
        wait_until(lambda: priced.states() == {"completed": 1}, 60)
        assert len(witness.calls()) == LINES
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(40) == 0


def test_a_limit_that_was_lowered_is_kept(priced: Mill, tmp_path: Path) -> None:
    """Below what is spent already nothing more is called, and what ends is charged; a later raise counts from there."""
    set_limit(priced, LINES)
    with sandbox(tmp_path, "--latency", "1", *BILLED) as witness:
        priced.environ["OPENAI_BASE_URL"] = witness.url
        output = tmp_path / "out.jsonl"
        path = question_file(tmp_path / "in.jsonl", LINES)
        run = priced.start("run", path, "-o", output, "--concurrency", "4")
        wait_until(lambda: len(witness.calls()) >= 4, 60)
        set_limit(priced, 1)
        wait_until(lambda: is_paused(priced), 60)
        called = len(witness.calls())
        assert called < LINES
        ((spent, held),) = priced.query("SELECT spent_nanos, held_nanos FROM budget_periods")
        assert (spent, held) == (called * COST_NANOS, 0)
        set_limit(priced, called + 1)
        wait_until(lambda: len(witness.calls()) == called + 1 and is_paused(priced), 60)
        stop(run)


def stop(process: "subprocess.Popen[str]") -> None:
    """Interrupt a command and wait for its end."""
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
