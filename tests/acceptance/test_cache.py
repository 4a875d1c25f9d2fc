"""`batchmill cache`: what it holds, what it saved, and how it is emptied."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mill import (
    BATCHMILL,
    PATIENCE_S,
    Mill,
    Sandbox,
    chat_line,
    sandbox,
    wait_until,
    write_lines,
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def used(mill: Mill, tmp_path: Path) -> Iterator[tuple[Mill, Sandbox]]:
    """An installation that answered 30 lines of 20 questions, and its provider."""
    write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n % 20}") for n in range(30)])
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        mill.run(tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl")
        yield mill, witness


def answer_on_a_terminal(mill: Mill, answer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that asks, and answer it."""
    terminal, tty = os.openpty()
    try:
        os.write(terminal, f"{answer}\n".encode())
        return subprocess.run(
            [BATCHMILL, *arguments],
            env=mill.environment(),
            stdin=tty,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    finally:
        os.close(terminal)
        os.close(tty)


def test_what_the_cache_saved(used: tuple[Mill, Sandbox]) -> None:
    """A third of the lines cost nothing: told for programs and for people."""
    mill, _ = used
    shown = json.loads(mill("cache", "stats", "--json").stdout)
    total = shown["total"]
    assert (total["entries"], total["live"], total["hits"], total["requests"]) == (20, 20, 10, 30)
    assert total["hit_rate"] == 0.3333
    assert float(total["saved_usd"]) > 0
    assert total["answer_bytes"] > 20 * 100
    assert [row["type"] for row in shown["rows"]] == [""]
    assert total["verdicts"] == {
        "hit_rate": "poor",
        "error_rate": "good",
        "response_s": "good",
        "cost_usd": "good",
    }
    people = mill.quickly("cache", "stats", "--since", "1d")
    assert "33.3%" in people.stdout
    assert re.search(r"hit rate +33\.3 % +poor +from 80 % +from 60 %", people.stdout)
    assert re.search(r"cost per request +\$0\.0+[1-9]\d* +good", people.stdout)
    assert "it holds 20 of 10,000,000 entries" in people.stderr


def test_cleared_only_when_confirmed(used: tuple[Mill, Sandbox], tmp_path: Path) -> None:
    """Without a terminal it takes --yes, on one it asks. Afterwards the same file is paid for again."""
    mill, witness = used
    assert "--yes" in mill.refused("cache", "clear")
    asked = answer_on_a_terminal(mill, "n", "cache", "clear")
    assert (asked.returncode, "drop 20 entries?" in asked.stderr) == (1, True)
    assert "dropped 0 entries" in mill.quickly("cache", "clear", "--older-than", "7d", "--yes").stderr
    dropped = json.loads(answer_on_a_terminal(mill, "y", "cache", "clear", "--json").stdout)
    assert dropped == {"entries": 20, "answers": 0, "answer_bytes": 0, "dropped": True}
    again = mill.run(tmp_path / "in.jsonl", "-o", tmp_path / "again.jsonl")
    assert (again["calls"], len(witness.calls())) == (20, 40)
    assert json.loads(mill.quickly("doctor", "--json", "--witness", witness.log).stdout)["well"]


def test_cleanup_of_what_has_expired(used: tuple[Mill, Sandbox], tmp_path: Path) -> None:
    """What has expired is told, then dropped; nothing else is."""
    mill, _ = used
    mill.environ["BATCHMILL_CACHE_TTL"] = "default=1s"
    lines = [chat_line(f"d{n}", f"short-lived {n}") for n in range(5)]
    mill.run(write_lines(tmp_path / "short.jsonl", lines), "-o", tmp_path / "short-out.jsonl")

    def dry() -> dict[str, Any]:
        told: dict[str, Any] = json.loads(mill.quickly("cache", "cleanup", "--dry-run", "--json").stdout)
        return told

    wait_until(lambda: dry()["entries"] == 5, PATIENCE_S)
    assert dry()["dropped"] is False
    assert json.loads(mill("cache", "cleanup", "--json").stdout)["entries"] == 5
    assert json.loads(mill.quickly("cache", "stats", "--json").stdout)["total"]["entries"] == 20


def test_fitted_into_its_size(used: tuple[Mill, Sandbox], tmp_path: Path) -> None:
    """What is worth least goes, those questions that were asked but once; what went and why is told. Results stay."""
    mill, witness = used
    assert "nothing went, as there is room" in mill.quickly("cache", "optimize").stdout
    dry = json.loads(mill.quickly("cache", "optimize", "--max-entries", "11", "--dry-run", "--json").stdout)
    assert (dry["dropped"], dry["by_worth"]["entries"], dry["left"]["entries"]) == (False, 10, 10)
    mill.environ["BATCHMILL_CACHE_MAX_ENTRIES"] = "11"
    told = mill("cache", "optimize").stdout
    assert re.search(r"worth: 10 entries .* went of 20 entries .* room for 11 entries and 10,000 MB", told)
    assert re.search(r"the line is at \$\d+\.\d+ a MB", told)
    assert "stays: 10 entries" in told
    again = mill.run(tmp_path / "in.jsonl", "-o", tmp_path / "again.jsonl")
    assert (again["calls"], len(witness.calls())) == (10, 30)
    assert json.loads(mill.quickly("doctor", "--json", "--witness", witness.log).stdout)["well"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["stats", "--since", "ever"], '--since "ever"'),
        (["clear", "--yes", "--older-than", "long"], '--older-than "long"'),
        (["optimize", "--max-mb", "-1"], "--max-mb"),
        (["burn"], "burn"),
    ],
)
def test_what_the_cache_cannot_do(mill: Mill, arguments: list[str], named: str) -> None:
    """What cannot be understood is named; and nothing is made."""
    assert named in mill.refused("cache", *arguments)
    assert not mill.home.exists()


def test_cache_of_a_home_that_does_not_exist(mill: Mill) -> None:
    """There is nothing in it, nothing to drop, and nothing is made."""
    assert json.loads(mill.quickly("cache", "stats", "--json").stdout)["rows"] == []
    assert "dropped 0 entries" in mill.quickly("cache", "cleanup").stderr
    assert "stays: 0 entries" in mill.quickly("cache", "optimize").stdout
    assert "dropped 0 entries" in mill.quickly("cache", "clear", "--yes").stderr
    assert not mill.home.exists()
