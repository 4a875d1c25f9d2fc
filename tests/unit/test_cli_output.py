"""What is printed stays in its line, whoever wrote it: providers' messages and producers' names are shown, too."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli.main import run
from cli.output import in_one_line, narrate, print_table
from cli.progress import _row
from workers.progress import Progress

NASTY = "one\ntwo\x1b[2J\udcff"
SHOWN = r"one\ntwo\x1b[2J\udcff"


def test_text_of_others_is_shown_in_one_line(capsys: Any) -> None:
    """Nothing of it breaks a table's line or reaches the terminal as a command; letters of all languages stay."""
    print_table([{"model": NASTY, "type": "Übersetzung 好"}])
    narrate(NASTY)
    told = capsys.readouterr()
    assert told.out.splitlines()[1].split("  ") == [SHOWN, "Übersetzung 好"]
    assert told.err.splitlines() == [SHOWN]
    assert in_one_line("a · b") == "a · b"


@pytest.mark.parametrize("phase", ["answering", "paused", "writing"])
def test_brackets_in_a_message_are_no_markup(phase: str) -> None:
    """On a terminal a local model's `[/INST]` is shown like any other word."""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    terminal.print(_row(Progress(phase=phase, total=2), 1, f"1 of 2 · http_500: [/INST] [bold]{NASTY}"))
    assert f"http_500: [/INST] [bold]{SHOWN}" in terminal.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "command",
    [
        ("usage", "--tenant"),
        ("list", "--job-name"),
        ("list", "--tenant"),
        ("cache", "clear", "--yes", "--model"),
        ("cache", "clear", "--yes", "--tenant"),
        ("cache", "clear", "--yes", "--type"),
        ("pause", "latest", "--reason"),
        ("providers", "list", "--provider"),
    ],
)
def test_an_option_that_is_not_utf8_is_misuse(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """It is told with the option, before any database is asked; and none is made."""
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert run([*command, "\udcff"]) == 2
    told = capsys.readouterr().err
    assert command[-1] in told
    assert "UTF-8" in told
    assert not (tmp_path / "home").exists()


def test_an_input_that_is_no_text_is_not_called_a_line(tmp_path: Path, capsys: Any) -> None:
    """Nothing in it is a line: the file is what is not valid."""
    (tmp_path / "in.jsonl").write_bytes(b"\x1f\x8b\x08")
    assert run(["tokens", str(tmp_path / "in.jsonl")]) == 1
    assert "error: the file is not valid; nothing was counted" in capsys.readouterr().err
