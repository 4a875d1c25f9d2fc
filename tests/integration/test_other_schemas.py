"""Every command that meets a database of another batchmill says so and leaves it alone."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cli.main import COMMANDS, run
from db import schema
from db.engine import Database
from tests.support.mill import chat_line, write_lines
from tests.support.servers import PostgresCluster

WITHOUT_DATABASE = {"beat", "config", "db", "down", "flower", "sandbox", "tokens", "version"}
EMBEDDED = {"up", "worker"}
COMMAND_LINES = [
    ("run", "in.jsonl", "-o", "out.jsonl"),
    ("submit", "in.jsonl"),
    ("status", "latest"),
    ("results", "latest"),
    ("list",),
    ("cancel", "latest"),
    ("pause", "latest"),
    ("resume", "latest"),
    ("usage",),
    ("report", "usage"),
    ("report", "list"),
    ("schedules", "list"),
    ("schedules", "run", "cache-cleanup"),
    ("health",),
    ("alerts", "list"),
    ("training", "list"),
    ("training", "export", "-o", "training"),
    ("doctor",),
    ("cache", "stats"),
    ("cache", "cleanup"),
    ("cache", "optimize"),
    ("cache", "clear", "--yes"),
    ("providers", "list"),
    ("providers", "setup"),
    ("providers", "add", "local/mine", "--tier", "cheap"),
    ("providers", "edit", "local/mine", "--quality", "0.5"),
    ("providers", "enable", "local/mine"),
    ("providers", "disable", "local/mine"),
    ("providers", "set-default", "local/mine"),
    ("budget", "list"),
    ("budget", "show", "global"),
    ("budget", "set", "global", "--day", "5"),
    ("budget", "remove", "global"),
    ("budget", "reset", "global"),
    ("budget", "alerts"),
    ("quote", "in.jsonl"),
    ("estimate", "--model", "gpt-4o", "--prompt", "hi"),
    ("worker", "--until-idle"),
    ("keys", "create"),
    ("keys", "list"),
    ("keys", "revoke", "bm-0123456789ab"),
    ("serve", "--port", "0"),
    ("up", "--port", "0"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an input in it, to work in, and settings that need nothing else."""
    write_lines(tmp_path / "in.jsonl", [chat_line("a", "2+2?")])
    monkeypatch.chdir(tmp_path)
    for variable in ("DATABASE_URL", "BROKER_URL", "REDIS_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("BATCHMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    return tmp_path


def test_no_command_is_left_out() -> None:
    """Each command that opens the database is tried here."""
    assert {words[0] for words in COMMAND_LINES} | WITHOUT_DATABASE == set(COMMANDS)


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_a_newer_database_is_refused(
    words: tuple[str, ...], folder: Path, sqlite_template: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An embedded home that a newer batchmill has used is not touched by an older one."""
    home = folder / "home"
    home.mkdir()
    path = home / "batchmill.db"
    path.write_bytes(sqlite_template.read_bytes())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert run(words) == 1
    said = "".join(capfd.readouterr())
    assert "has schema 9999, which this batchmill does not know" in said
    assert "use a newer batchmill" in said
    assert "Traceback" not in said
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM batches").fetchone() == (0,)


@pytest.mark.parametrize(
    "words", [words for words in COMMAND_LINES if words[0] not in EMBEDDED], ids=" ".join
)
def test_an_older_shared_database_is_to_be_upgraded_first(
    words: tuple[str, ...],
    folder: Path,
    postgres: PostgresCluster,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Others may still be working on it with the older batchmill: its upgrade is a decision, named in the hint."""
    url = postgres.create(empty=True)
    database = Database(url)
    schema.upgrade(database, to="0001")
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("BROKER_URL", valkey_url)
    monkeypatch.setenv("BATCHMILL_KEYS_SECRET", "k" * 32)
    try:
        assert run(words) == 1
        said = "".join(capfd.readouterr())
        assert "has schema 0001" in said
        assert "batchmill db upgrade" in said
        assert "Traceback" not in said
        assert schema.version(database) == "0001"
    finally:
        database.close()
        postgres.drop(url)
