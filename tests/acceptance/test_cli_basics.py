"""The installed command as a user meets it first: help, settings, mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("batchmill")
COMMANDS = {
    *("run", "submit", "status", "results", "list", "cancel", "pause", "resume", "tokens"),
    *("usage", "doctor", "cache", "providers"),
    *("worker", "beat", "sandbox", "config", "db", "version"),
}


@pytest.fixture
def batchmill(tmp_path):
    """Runs the command in an empty folder with a home of its own and nothing else set."""

    def call(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "BATCHMILL_HOME": str(tmp_path / "home"), **environ}
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return call


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(batchmill, flag):
    """What there is can be seen without reading anything else."""
    result = batchmill(flag)
    assert (result.returncode, result.stderr) == (0, "")
    listed = {line.split()[0] for line in result.stdout.split("Commands:")[1].splitlines() if line.strip()}
    assert listed >= COMMANDS


def test_help_imports_no_command(batchmill):
    """Celery, the database and pydantic take their second when they are needed, not before."""
    result = batchmill("--help", PYTHONPROFILEIMPORTTIME="1")
    modules = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "click" in modules
    assert not modules & {"celery", "sqlalchemy", "pydantic", "aiohttp", "structlog", "rich", "openai"}


def test_without_a_command_the_help_is_shown(batchmill):
    """A first-time user is not left with nothing; a script still sees that it was misused."""
    result = batchmill()
    assert result.returncode == 2
    assert "Commands:" in result.stderr


def test_version_is_that_of_the_package(batchmill):
    """`--version` for people, `version --json` for a bug report."""
    short = batchmill("--version").stdout.split()
    versions = json.loads(batchmill("version", "--json").stdout)
    assert short == ["batchmill", versions["batchmill"]]
    assert {"python", "celery", "sqlalchemy"} <= versions.keys()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["nope"], "`batchmill --help`"), (["config", "--nope"], "`batchmill config --help`")],
)
def test_a_mistyped_command_is_told_where_to_look(batchmill, arguments, hint):
    """Misuse is exit status 2, one line, and a hint."""
    result = batchmill(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert hint in result.stderr


def test_config_shows_values_and_sources_and_no_secret(batchmill, tmp_path):
    """What is in force can be pasted into a bug report."""
    (tmp_path / ".env").write_text("BATCHMILL_WORKERS=2\n")
    secret = "sk-not-for-your-eyes"
    result = batchmill("config", "--json", OPENAI_API_KEY=secret, DATABASE_URL=f"postgres://u:{secret}@h/d")
    rows = {row["variable"]: row for row in json.loads(result.stdout)}
    assert secret not in result.stdout
    assert (rows["BATCHMILL_WORKERS"]["value"], rows["BATCHMILL_WORKERS"]["source"]) == ("2", ".env")
    assert rows["OPENAI_API_KEY"]["source"] == "environment"
    assert rows["BATCHMILL_CONCURRENCY"]["source"] == "default"
    assert rows["DATABASE_URL"]["value"] == "postgresql+psycopg://u:***@h/d"


def test_config_shows_what_the_secrets_file_sets_and_no_secret(batchmill, tmp_path):
    """Where a key comes from is told, and that others may read the file."""
    secret = "sk-not-for-your-eyes"
    path = tmp_path / "secrets"
    path.write_text(f"ANTHROPIC_API_KEY={secret},{secret}-too\n")
    path.chmod(0o644)
    result = batchmill("config", "--json", BATCHMILL_SECRETS="secrets")
    rows = {row["variable"]: row for row in json.loads(result.stdout)}
    assert (rows["ANTHROPIC_API_KEY"]["value"], rows["ANTHROPIC_API_KEY"]["source"]) == (
        "***,***",
        "secrets file",
    )
    assert rows["BATCHMILL_SECRETS"]["value"] == str(path)
    assert result.stderr.splitlines() == [
        f'warning: "{path}" holds secrets and other users may get at it; `chmod 600` keeps them out'
    ]
    assert secret not in result.stdout


def test_a_secrets_file_that_is_not_there_stops_the_start(batchmill, tmp_path):
    """The variable and the file are named, without a stack trace."""
    result = batchmill("config", BATCHMILL_SECRETS="nowhere")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f'error: BATCHMILL_SECRETS: there is no "{tmp_path}/nowhere"',
        "hint: correct its name, or make it",
    ]


def test_config_prints_a_table_for_people(batchmill):
    """One row a variable, under a heading, on standard output."""
    result = batchmill("config")
    assert (result.returncode, result.stderr) == (0, "")
    heading, *rows = result.stdout.splitlines()
    assert heading.split() == ["VARIABLE", "VALUE", "SOURCE", "MEANING"]
    assert any(row.startswith("OPENAI_API_KEY") for row in rows)


def test_a_bad_setting_stops_the_start_by_name(batchmill):
    """Variable, value and what is accepted, without a stack trace."""
    result = batchmill("config", BATCHMILL_CONCURRENCY="many")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        'error: BATCHMILL_CONCURRENCY is "many"; it takes a whole number from 1 to 10000',
        "hint: correct it in the environment",
    ]


def test_a_reader_that_leaves_early_is_no_error(batchmill, tmp_path):
    """`batchmill config | head -1` ends in silence."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed_pipe:
        result = subprocess.run(
            [COMMAND, "config"],
            cwd=tmp_path,
            stdout=closed_pipe,
            stderr=subprocess.PIPE,
            timeout=30,
            check=False,
        )
    assert result.stderr == b""


def test_worker_with_a_bad_setting_stops_at_its_start(batchmill):
    """Not at its first claim: the variable is named before any database or broker is looked for."""
    result = batchmill(
        "worker",
        BROKER_URL="redis://127.0.0.1:9/0",
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
        BATCHMILL_CACHE_TTL="moderation=soon",
    )
    assert result.returncode == 2
    assert "BATCHMILL_CACHE_TTL" in result.stderr
    assert "hint:" in result.stderr
