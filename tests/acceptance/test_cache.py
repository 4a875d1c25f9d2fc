"""`batchmill cache`: what it holds, what it saved, and how it is emptied."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mill import BATCHMILL, Mill, Sandbox, chat_line, sandbox, write_lines

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
    assert "33.3%" in mill.quickly("cache", "stats", "--since", "1d").stdout


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
    dry = json.loads(mill("cache", "cleanup", "--dry-run", "--json").stdout)
    assert (dry["entries"], dry["dropped"]) == (5, False)
    assert json.loads(mill("cache", "cleanup", "--json").stdout)["entries"] == 5
    assert json.loads(mill.quickly("cache", "stats", "--json").stdout)["total"]["entries"] == 20


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["stats", "--since", "ever"], '--since "ever"'),
        (["clear", "--yes", "--older-than", "long"], '--older-than "long"'),
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
    assert "dropped 0 entries" in mill.quickly("cache", "clear", "--yes").stderr
    assert not mill.home.exists()
