"""What the command makes of an error: a line, a hint, an exit status; a stack trace on request only."""

import click
import pytest

from batchmill.errors import ConflictError, MisuseError, StoppedError
from cli.lazy import LazyCommand
from cli.main import COMMANDS, run

ERRORS = {
    "conflict": ConflictError("home is in use", "stop the other run"),
    "misuse": MisuseError("no such lane"),
    "stopped": StoppedError("stopped by SIGTERM"),
    "interrupt": KeyboardInterrupt(),
    "defect": ZeroDivisionError("one\ntwo"),
}


@click.command()
@click.argument("kind")
def fail(kind: str) -> None:
    """Fail in the way asked for."""
    raise ERRORS[kind]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The command above is part of `batchmill`, whose home is a folder of the test."""
    monkeypatch.setitem(COMMANDS, "fail", LazyCommand(module=__name__, help="Fail."))
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path))
    monkeypatch.delenv("BATCHMILL_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "status", "told"),
    [
        ("conflict", 1, ["error: home is in use", "hint: stop the other run"]),
        ("misuse", 2, ["error: no such lane"]),
        ("stopped", 130, ["error: stopped by SIGTERM"]),
        ("interrupt", 130, ["interrupted"]),
    ],
)
def test_an_expected_error_has_its_line_hint_and_status(capfd, kind, status, told):
    """The class of the error says what it exits with."""
    assert run(["fail", kind]) == status
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.strip().splitlines() == told


def test_a_defect_is_one_line_and_a_file(capfd, home):
    """The user sees what happened, whoever mends it finds the stack trace, and nobody else can read it."""
    assert run(["fail", "defect"]) == 1
    (details,) = (home / "logs").iterdir()
    error, hint = capfd.readouterr().err.splitlines()
    assert error == "error: unexpected ZeroDivisionError: one"
    assert str(details) in hint
    assert "Traceback" in details.read_text()
    assert details.stat().st_mode & 0o077 == 0


def test_a_defect_shows_its_trace_when_debugging(capfd, home, monkeypatch):
    """BATCHMILL_DEBUG=1 is for developers."""
    monkeypatch.setenv("BATCHMILL_DEBUG", "1")
    assert run(["fail", "defect"]) == 1
    assert "Traceback" in capfd.readouterr().err
    assert not (home / "logs").exists()


def test_a_defect_is_told_also_when_nothing_can_be_logged(capfd, monkeypatch):
    """A setting that is wrong as well does not hide the error."""
    monkeypatch.setenv("BATCHMILL_WORKERS", "none")
    assert run(["fail", "defect"]) == 1
    assert "BATCHMILL_DEBUG=1" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["providers", "add", "openai/x"],
            "Missing option '--tier'. Choose from: cheap, normal, premium",
        ),
        (["worker", "--until-idle", "--maintenance"], "--until-idle and --maintenance exclude each other"),
    ],
)
def test_misuse_is_one_line_and_a_hint(capfd, arguments, told):
    """Also where the message has several lines by itself."""
    assert run(arguments) == 2
    error, hint = capfd.readouterr().err.splitlines()
    assert error == f"error: {told}"
    assert hint.startswith("hint: ")
