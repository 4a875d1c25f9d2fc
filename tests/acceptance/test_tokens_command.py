"""`batchmill tokens`: counts by model, from any input, with no network and no key."""

import json
from pathlib import Path

from tests.support.mill import Mill, chat_line, write_lines


def test_counts_by_model(mill: Mill, tmp_path: Path) -> None:
    """Lines, tokens and whether they are exact, as a table or as JSON; a home is not made."""
    lines = [
        chat_line("a", "hello world"),
        chat_line("b", "hello world", model="claude-x"),
        chat_line("c", "hello"),
    ]
    write_lines(tmp_path / "in.jsonl", lines)
    shown = mill("tokens", "in.jsonl")
    assert shown.returncode == 0, shown.stderr
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["MODEL", "LINES", "TOKENS", "COUNT"],
        ["gpt-4o-mini", "2", "17", "exact"],
        ["claude-x", "1", "11", "estimate"],
        ["(all)", "3", "28", "estimate"],
    ]
    told = json.loads(mill("tokens", "in.jsonl", "--as", "gpt-4", "--json").stdout)
    assert told == {
        "rows": [{"model": "gpt-4", "lines": 3, "tokens": 26, "is_exact": True}],
        "total": {"lines": 3, "tokens": 26, "is_exact": True},
    }
    assert not mill.home.exists()


def test_a_table_on_standard_input(mill: Mill) -> None:
    """The options that say how an input is read are those of `run`."""
    table = ("tokens", "-", "--prompt", "{text} {text}", "--model", "gpt-4o", "--json")
    done = mill(*table, stdin="text\nhello\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["total"] == {"lines": 1, "tokens": 9, "is_exact": True}
    assert not list((mill.home / "run").iterdir())


def test_bad_lines_are_told_and_nothing_is_counted(mill: Mill, tmp_path: Path) -> None:
    """Half a count would be taken for a whole one."""
    write_lines(tmp_path / "in.jsonl", [chat_line("a", "hello"), "{", chat_line("c", "hello", stream=True)])
    said = mill.refused("tokens", "in.jsonl")
    assert "line 2: invalid_json_line" in said
    assert "line 3: streaming_unsupported (body.stream)" in said
    assert "error: 2 lines are not valid; nothing was counted" in said
