"""Old data as a user sees it go: foreseen, removed, and said in words ever after."""

import json
from pathlib import Path

import pytest

from tests.support.mill import Mill, chat_line, sandbox, write_lines

pytestmark = pytest.mark.timeout(300)

MONTH_MS = 31 * 86_400_000


def test_what_is_old_is_foreseen_removed_and_told(mill: Mill, tmp_path: Path) -> None:
    """Nothing by default; with a time set, what goes is shown first. Its cost stays, its results are refused."""
    source = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(3)])
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        done = mill.quickly("run", source, "-o", tmp_path / "out.jsonl")
        assert done.returncode == 0, done.stderr
    for column in ("created_ms", "ended_ms"):
        mill.execute(f"UPDATE batches SET {column} = {column} - {MONTH_MS}")
    mill.execute("UPDATE cache_entries SET expires_ms = 1")
    shown = {
        row["kind"]: row for row in json.loads(mill.quickly("db", "retention", "--json").stdout)["going"]
    }
    assert (shown["batches"]["count"], shown["batches"]["kept_days"]) == (0, 0)
    mill.environ["BATCHMILL_KEEP_BATCHES_DAYS"] = "30"
    table = mill.quickly("db", "retention")
    assert [line.split()[:5] for line in table.stdout.splitlines()[1:3]] == [
        ["batches", "30", "days", "1", "-"],
        ["single", "requests", "30", "days", "0"],
    ]
    usage = mill.quickly("usage", "--by", "batch", "--json").stdout
    assert "removed" not in mill.quickly("list").stdout
    done = mill.quickly("schedules", "run", "retention", "--json")
    assert (json.loads(done.stdout)["batches"], json.loads(done.stdout)["lines"]) == (1, 3), done.stderr
    assert "were removed on" in mill.refused("results", "latest")
    assert "kept for 31 days" in mill.refused("results", "latest", "-o", tmp_path / "again.jsonl")
    assert "were removed on" in mill.refused("providers", "explain", "latest:c1")
    assert "BATCHMILL_KEEP_BATCHES_DAYS" in mill.quickly("status", "latest").stdout
    assert "REMOVED" in mill.quickly("list").stdout
    assert mill.quickly("usage", "--by", "batch", "--json").stdout == usage
    doctor = json.loads(mill.quickly("doctor", "--json").stdout)
    assert [one for one in doctor["findings"] if one["level"] == "failure"] == []
