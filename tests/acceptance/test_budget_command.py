"""batchmill budget, and the budgets of run and submit: set, seen, kept to, and every misuse told."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_submit_and_collect import questions
from tests.support.mill import PATIENCE_S, Mill, chat_line, sandbox, wait_until, write_lines

NOWHERE = "http://127.0.0.1:9/v1"
KEPT = "SELECT scope, name, period, limit_nanos, on_limit, removed_ms IS NULL FROM budgets ORDER BY id"
ONE_CALL_USD = "0.000016"


MISUSES = [
    ("tenant acme", "how much may be spent on tenant acme is missing"),
    ("tenant acme --on-limit reject", "how much may be spent on tenant acme is missing"),
    ("tenant acme --day", "requires an argument"),
    ("tenant acme --day -5", "'-5' is no amount; write US dollars as plain decimals, 5 or 5.00"),
    ("tenant acme --day $5", "'$5' is no amount"),
    ("tenant acme --day 1,000", "'1,000' is no amount"),
    ("tenant acme --day nan", "'nan' is no amount"),
    ("tenant acme --week inf", "'inf' is no amount"),
    ("tenant acme --total 9000000001", "9000000001 is more than 9,000,000,000 dollars"),
    ("tenant acme --month 0.0000000001", "more than 9 decimals"),
    ("tenat acme --day 5", "did you mean tenant?"),
    ("tenant --day 5", "which tenant?"),
    ("global acme --day 5", 'the global budget has no name, and "acme" is one'),
    ("tenant acme --day 5 --timezone Europe/Berlim", 'there is no time zone "Europe/Berlim"'),
    ("tenant acme --day 5 --timezone ../../etc/passwd", "there is no time zone"),
    ("tenant acme --day 5 --thresholds 75,101", "'101' is no threshold"),
    ("tenant acme --day 5 --thresholds 90,75", "does not ascend"),
    ("tenant acme --day 5 --on-limit stop", "'stop' is not one of"),
    ("tenant acme --day 5 --downgrade-at 0", "--downgrade-at"),
    ("tenant acme --day 5 --downgrade-at 80", "say --on-limit downgrade as well"),
    ("batch latest --total 5", "there is no latest batch"),
    ("batch batch_0123 --total 5", "names no batch"),
    ("model gpt-4o-minni --day 5", 'no price is known for the model "gpt-4o-minni"'),
    ("tenant a b --day 5", "unexpected extra argument"),
]


def told(mill: Mill, *arguments: str) -> Any:
    """What a command of the group prints as JSON; it has to succeed."""
    done = mill.quickly("budget", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_budget_of_nobody_is_told(mill: Mill) -> None:
    """A provider's name that is none covers nothing; one of any provider that is known says nothing."""
    known = mill.quickly("budget", "set", "provider", "anthropic", "--day", "5")
    misspelt = mill.quickly("budget", "set", "provider", "antropic", "--day", "5")
    assert (known.returncode, misspelt.returncode) == (0, 0)
    assert "covers no call" not in known.stderr
    assert "it covers no call: providers are openai, anthropic, gemini, openrouter, local" in misspelt.stderr


def test_what_cannot_be_set_is_told_and_changes_nothing(mill: Mill) -> None:
    """Naming what is wrong and how it is written; the budgets that are there stay as they are."""
    told(mill, "set", "tenant", "acme2", "--day", "1")
    before = mill.query(KEPT)
    for arguments, said in MISUSES:
        assert said in mill.refused("budget", "set", *arguments.split(" ")), arguments
        assert mill.query(KEPT) == before, arguments


def test_a_variable_that_is_no_amount_stops_every_command(mill: Mill) -> None:
    """It is named, with how an amount is written."""
    mill.environ["AI_DAILY_BUDGET"] = "$5"
    mill.environ["BATCHMILL_TIMEZONE"] = "Berlin"
    said = mill.refused("budget", "list")
    assert 'AI_DAILY_BUDGET is "$5"' in said
    assert 'BATCHMILL_TIMEZONE is "Berlin"' in said


def test_the_life_of_a_budget(mill: Mill) -> None:
    """Set, changed, listed, shown, reset, removed: each command says what it did, and JSON has it whole."""
    mill.environ["BATCHMILL_TIMEZONE"] = "Europe/Berlin"
    assert mill.quickly("budget", "list", "--json").stdout == "[]\n"
    for how in ("remove", "reset"):
        assert "there is no budget of user acme/alice" in mill.refused("budget", how, "user", "acme/alice")
    assert not mill.home.exists()
    made = told(mill, "set", "user", "acme/alice", "--day", "5", "--total", "0.5", "--thresholds", "80")
    assert [(one["period"], one["limit_usd"], one["left_usd"]) for one in made] == [
        ("day", "5", "5"),
        ("total", "0.5", "0.5"),
    ]
    changed = mill.quickly("budget", "set", "user", "acme/alice", "--day", "0", "--on-limit", "reject")
    assert "the daily budget of user acme/alice is $0.00, of which $0.00 is spent" in changed.stderr
    assert "no new call that costs anything until" in changed.stderr
    day, total = told(mill, "list")
    assert (day["on_limit"], day["thresholds_percent"], day["timezone"]) == ("reject", [80], "Europe/Berlin")
    assert (total["on_limit"], total["until"], day["used_percent"]) == ("pause", None, None)
    loose = told(mill, "set", "user", "acme/alice", "--allow-unpriced")
    assert [(one["limit_usd"], one["allow_unpriced"]) for one in loose] == [("0", True), ("0.5", True)]
    assert "reject, unpriced allowed" in mill.quickly("budget", "list").stdout
    reset = mill.quickly("budget", "reset", "user", "acme/alice", "--total")
    assert "the budget of user acme/alice begins anew; it had $0.00 spent" in reset.stderr
    shown = told(mill, "show", "user", "acme/alice")
    assert [len(one["past_periods"]) for one in shown] == [0, 1]
    assert "past periods" in mill.quickly("budget", "show", "user", "acme/alice").stdout
    assert [one["period"] for one in told(mill, "remove", "user", "acme/alice", "--total")] == ["total"]
    assert [one["period"] for one in told(mill, "remove", "user", "acme/alice")] == ["day"]
    assert "there is no budget of user acme/alice" in mill.refused("budget", "show", "user", "acme/alice")


def test_a_variable_s_budget_is_in_force_with_the_next_command(mill: Mill) -> None:
    """It is listed as the variable's, says that it comes back when removed, and does."""
    mill.environ["AI_MONTHLY_BUDGET"] = "20"
    (month,) = told(mill, "list")
    assert (month["scope"], month["origin"], month["limit_usd"]) == ("global", "environment", "20")
    told(mill, "set", "global", "--month", "30")
    removed = mill.quickly("budget", "remove", "global", "--month")
    assert removed.stderr.count("removed the global monthly budget") == 2
    assert "it comes back with the next command or worker that has AI_MONTHLY_BUDGET set" in removed.stderr
    assert [one["limit_usd"] for one in told(mill, "list")] == ["20"]
    del mill.environ["AI_MONTHLY_BUDGET"]
    told(mill, "remove", "global")
    assert told(mill, "list") == []


@pytest.mark.parametrize("way", ["run", "submit"])
def test_a_model_without_a_price_is_refused_before_anything_is_accepted(
    mill: Mill, tmp_path: Path, way: str
) -> None:
    """Naming model, line, budget, and what next; allowed, or given a price, the same input is taken."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    path = write_lines(tmp_path / "in.jsonl", [chat_line("a", "A?"), chat_line("b", "B?", model="own")])
    command = [way, str(path), *(["-o", str(tmp_path / "out.jsonl")] if way == "run" else [])]
    mill.environ["AI_WEEKLY_BUDGET"] = "5"
    assert "openai/own (line 2), and the global weekly budget covers it" in mill.refused(*command)
    told(mill, "remove", "global")
    del mill.environ["AI_WEEKLY_BUDGET"]
    told(mill, "set", "tenant", "local", "--day", "5")
    said = mill.refused(*command)
    assert "no price is known for openai/own (line 2), and the daily budget of tenant local covers it" in said
    assert "batchmill providers add openai/own" in said
    assert "batchmill budget set tenant local --allow-unpriced" in said
    assert mill.query("SELECT (SELECT count(*) FROM inputs), (SELECT count(*) FROM attempts)") == [(0, 0)]
    if way == "run":
        return
    told(mill, "set", "tenant", "local", "--allow-unpriced")
    assert mill.quickly(*command).returncode == 0
    assert "leave --budget out" in mill.refused(*command, "--budget", "5")
    prices = ["--tier", "cheap", "--input-price", "0", "--output-price", "0"]
    assert mill.quickly("providers", "add", "openai/own", *prices).returncode == 0
    assert mill.quickly(*command, "--budget", "5").returncode == 0


def test_a_batch_s_budget_is_made_with_it(mill: Mill, tmp_path: Path) -> None:
    """`submit --budget` limits this batch alone; an amount that is none is refused with nothing accepted."""
    mill.environ["OPENAI_BASE_URL"] = NOWHERE
    path = questions(tmp_path, 3)
    assert "'$1' is no amount" in mill.refused("submit", path, "--budget", "$1")
    batch = mill.quickly("submit", path, "--budget", "1.5", "--on-budget", "reject").stdout.strip()
    (own,) = told(mill, "show", "batch", "latest")
    assert (own["name"], own["limit_usd"], own["on_limit"]) == (batch, "1.5", "reject")
    assert mill.query("SELECT on_budget FROM batches") == [("reject",)]


@pytest.mark.timeout(180)
def test_a_worker_keeps_to_the_variables_it_is_started_with(mill: Mill, tmp_path: Path) -> None:
    """No call is made that AI_DAILY_BUDGET has no room for, and the batch says what it waits for."""
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        assert mill.quickly("submit", questions(tmp_path, 3)).returncode == 0
        mill.environ["AI_DAILY_BUDGET"] = "0.000000001"
        assert mill("worker", "--until-idle").returncode == 0
        assert witness.calls() == []
    ((state, reason),) = mill.query("SELECT state, paused_reason FROM batches")
    assert state == "paused"
    assert "a higher AI_DAILY_BUDGET raises it" in reason


@pytest.mark.timeout(180)
def test_the_same_command_with_more_money_goes_on(mill: Mill, tmp_path: Path) -> None:
    """A run that waits for its own budget is stopped, and run again with a higher one: the same batch, to its end."""
    output = tmp_path / "out.jsonl"
    path = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"{n}?", max_tokens=20) for n in range(6)])
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        waiting = mill.start("run", path, "-o", output, "--budget", ONE_CALL_USD)
        wait_until(lambda: _paused(mill), PATIENCE_S)
        waiting.terminate()
        waiting.communicate(timeout=PATIENCE_S)
        so_far = len(witness.calls())
        assert so_far < 6
        report = mill.run(path, "-o", output, "--budget", "1", "--on-budget", "reject")
        assert (report["completed"], len(witness.calls())) == (6, 6)
    assert mill.query("SELECT count(*), max(on_budget) FROM batches") == [(1, "reject")]
    assert mill.query("SELECT count(*), max(limit_nanos) FROM budgets") == [(1, 10**9)]
    assert told(mill, "list") == []
    (own,) = told(mill, "list", "--all")
    assert own["spent_usd"] == report["cost_usd"]


def _paused(mill: Mill) -> bool:
    try:
        return mill.query("SELECT state FROM batches") == [("paused",)]
    except sqlite3.OperationalError:  # there is no database yet
        return False
