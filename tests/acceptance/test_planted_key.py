"""Keys are secret: whatever a provider gives away, none is found in any file, output or log."""

import os
import secrets
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.echoing import FAULTS, Echo, echoing
from tests.support.mill import Mill, chat_line, write_lines
from tests.support.planted import files_holding, halves

ROOT = Path(__file__).parents[2]
PREFIXES = ("", "anthropic/", "gemini/", "openrouter/", "local/")


def planted() -> str:
    """A key that looks like none, so that only whoever knows it can keep it back."""
    return f"{secrets.token_hex(20)}"


@pytest.fixture
def keys() -> dict[str, str]:
    """Some keys: two in the environment's pool, and some for the secrets file."""
    return {
        name: planted()
        for name in ("first", "second", "filed", "local", "anthropic", "gemini", "openrouter", "unused")
    }


@pytest.fixture
def set_up(mill: Mill, tmp_path: Path, keys: dict[str, str]) -> Path:
    """An installation with keys from the environment and from a secrets file, which logs all it can; that file."""
    path = tmp_path / "secrets"
    path.touch(0o600)
    path.write_text(
        f"LOCAL_API_KEY={keys['local']}\nANTHROPIC_API_KEY={keys['anthropic']}\nOPENAI_API_KEY={keys['filed']}\n"
        f"SMTP_URL=smtp://user:{keys['unused']}@127.0.0.1:1\n"
    )
    mill.environ |= {
        "BATCHMILL_SECRETS": str(path),
        "BATCHMILL_LOG_LEVEL": "debug",
        "BATCHMILL_LOG_REQUESTS": "all",
        "BATCHMILL_MAX_TRIES": "2",
        "BATCHMILL_BACKOFF_BASE_S": "0.02",
        "BATCHMILL_GIVE_UP_S": "5",
        "OPENAI_API_KEY": f"{keys['first']},{keys['second']}",
        "GEMINI_API_KEY": keys["gemini"],
        "OPENROUTER_API_KEY": keys["openrouter"],
    }
    return path


def questions(tmp_path: Path, *models: str) -> Path:
    """Three lines for each model."""
    lines = [chat_line(f"{model} {n}", f"question {n}", model=model) for model in models for n in range(3)]
    return write_lines(tmp_path / f"{models[0].replace('/', '-')}-in.jsonl", lines)


def assert_nowhere(tmp_path: Path, keys: dict[str, str], outputs: list[str], secrets_file: Path) -> None:
    """Neither half of any key is in a file below the folder, the secrets file aside, nor in what was said."""
    needles = [half for key in keys.values() for half in halves(key)]
    assert files_holding(tmp_path, needles, apart_from=[secrets_file]) == []
    for said in outputs:
        assert not [needle for needle in needles if needle in said], said


@pytest.mark.timeout(240)
@pytest.mark.parametrize("place", ["environment", "secrets file"])
def test_a_provider_that_gives_keys_away(
    mill: Mill, tmp_path: Path, keys: dict[str, str], set_up: Path, place: str
) -> None:
    """Errors, pages, headers, refused accounts: home, results, outputs and logs hold no half of any key."""
    if place == "secrets file":
        del mill.environ["OPENAI_API_KEY"]
    with echoing() as echo:
        bare = echo.url.removesuffix("/v1")
        mill.environ |= {
            "OPENAI_BASE_URL": echo.url,
            "LOCAL_BASE_URL": echo.url,
            "OPENROUTER_BASE_URL": echo.url,
        }
        mill.environ |= {"ANTHROPIC_BASE_URL": bare, "GOOGLE_GEMINI_BASE_URL": bare}
        models = [f"{provider}{fault}" for provider in PREFIXES for fault in FAULTS]
        outputs = [*said(mill, "run", questions(tmp_path, *models), "-o", tmp_path / "out.jsonl", status=1)]
        with closing(sqlite3.connect(mill.home / "batchmill.db")) as keeps_the_wal:
            keeps_the_wal.execute("SELECT count(*) FROM batches").fetchall()
            outputs += [
                *said(
                    mill, "run", questions(tmp_path, "blocked"), "-o", tmp_path / "blocked.jsonl", status=1
                ),
                *said(mill, "config", status=0),
                *said(mill, "config", "--json", status=0),
                *said(mill, "providers", "health", "openai", "local", status=1),
                *said(mill, "providers", "health", "--stored", "--json", status=1),
                *said(mill, "list", "--json", status=0),
                *said(mill, "doctor", "--json", status=0),
            ]
            asked_with = keys["filed" if place == "secrets file" else "first"]
            assert_heard(
                echo, asked_with, *(keys[name] for name in ("local", "anthropic", "gemini", "openrouter"))
            )
            assert_every_file_is_there(mill, tmp_path)
            assert "[key]" in "".join(outputs)
            assert_nowhere(tmp_path, keys, outputs, set_up)


def said(mill: Mill, *arguments: str | Path, status: int) -> tuple[str, str]:
    """What the installed command puts out; it has to end so."""
    done = mill(*arguments)
    assert done.returncode == status, (arguments, done.stdout, done.stderr)
    return done.stdout, done.stderr


def assert_heard(echo: Echo, *keys: str) -> None:
    """The server was really called with each of the keys, so it had something to give away."""
    for key in keys:
        assert [head for head in echo.heard if key in head]


def assert_every_file_is_there(mill: Mill, tmp_path: Path) -> None:
    """What is searched holds what went wrong: the files of results, the database and what it last wrote, a log."""
    assert "I was told" in (tmp_path / "out.errors.jsonl").read_text()
    assert mill.query("SELECT count(*) FROM answers WHERE error_message LIKE '%[key]%'") != [(0,)]
    assert b"I was told" in (mill.home / "batchmill.db-wal").read_bytes()
    assert (mill.home / "logs" / "worker.log").exists()


LEAKS = """
import os

def test_leak(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "leak.log").write_text("x" * 1_048_570 + os.environ["OPENAI_API_KEY"])

def test_nothing(tmp_path):
    (tmp_path / "fine.log").write_text("fine")
"""
SAYS = """
import os

def test_say():
    print(os.environ["OPENAI_API_KEY"])

def test_nothing():
    pass
"""
NOTHING = """
def test_nothing(tmp_path):
    (tmp_path / "fine.log").write_text("fine")
"""


@pytest.mark.parametrize("processes", ["0", "2"])
@pytest.mark.parametrize(
    ("tests", "status", "named"),
    [(LEAKS, 1, "leak.log"), (SAYS, 1, "test_say"), (NOTHING, 0, "1 passed")],
    ids=["in a file", "said", "nowhere"],
)
def test_a_session_that_lets_a_key_out_fails(
    tmp_path: Path, tests: str, status: int, named: str, processes: str
) -> None:
    """The guard of this whole suite does its work, in one process and in several: the file or the test is named."""
    (tmp_path / "conftest.py").write_text(
        "from tests.support.planted import planted_key, pytest_runtest_logreport\n"
    )
    (tmp_path / "test_inner.py").write_text(tests)
    where = ["--rootdir", tmp_path, "-c", os.devnull, "--basetemp", tmp_path / "inner", tmp_path]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", processes, "-p", "no:cacheprovider", *where],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert named in done.stdout
    assert ("let out" in done.stdout) is (status == 1)
