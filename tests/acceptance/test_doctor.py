"""`batchmill doctor`: says that all is well when it is, and what is broken when something is."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.mill import Mill, Sandbox, chat_line, sandbox, wait_until, write_lines

pytestmark = pytest.mark.timeout(300)

MODELS = ["gpt-4o-mini"] * 6 + ["gpt-4o", "sandbox/400", "sandbox/reset", "sandbox/flaky-1"]


@pytest.fixture
def used(mill: Mill, tmp_path: Path) -> Iterator[tuple[Mill, Sandbox]]:
    """An installation that answered 30 lines, some of which failed in some way, and its provider."""
    lines = [chat_line(f"c{n}", f"question {n % 20}", model=MODELS[n % len(MODELS)]) for n in range(30)]
    mill.environ |= {"BATCHMILL_BACKOFF_BASE_S": "0.02", "BATCHMILL_MAX_TRIES": "3"}
    with sandbox(tmp_path) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        done = mill("run", write_lines(tmp_path / "in.jsonl", lines), "-o", tmp_path / "out.jsonl")
        assert "from the cache" in done.stderr, done.stderr
        yield mill, witness


def examined(mill: Mill, *arguments: str | Path, status: int = 0) -> dict[str, Any]:
    """What the doctor says, by check; its exit status is that."""
    done = mill.quickly("doctor", "--json", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["well"] is (status == 0)
    return {finding["check"]: finding for finding in said["findings"]}


def failed(found: dict[str, Any]) -> set[str]:
    """The checks that failed."""
    return {check for check, finding in found.items() if finding["level"] == "failure"}


def test_books_of_a_run_with_faults(used: tuple[Mill, Sandbox], tmp_path: Path) -> None:
    """After faults of all kinds every promise is kept and the provider agrees; what is broken then is named."""
    mill, witness = used
    found = examined(mill, "--witness", witness.log)
    assert {check for check, finding in found.items() if finding["level"] != "ok"} == set()
    assert {"database", "broker", "counters", "ledger-entries", "witness-bill"} <= set(found)
    with closing(sqlite3.connect(mill.home / "batchmill.db")) as database:
        database.execute("UPDATE batches SET done = done + 1, failed = failed - 1")
        database.commit()
    found = examined(mill, status=1)
    assert failed(found) == {"counters"}
    (name,) = mill.query("SELECT public_id FROM batches")[0]
    assert found["counters"]["examples"][0]["batch"] == name
    told = mill("doctor")
    assert (told.returncode, f"  {name}: done: " in told.stdout) == (1, True)
    log = tmp_path / "two.jsonl"
    log.write_text(witness.log.read_text() * 2)
    assert failed(examined(mill, "--witness", log, status=1)) == {"counters", "witness-once"}


def test_doctor_beside_a_running_mill(mill: Mill, tmp_path: Path) -> None:
    """While lines are being answered there is no false alarm; after kill -9 there is none either, only warnings."""
    source = write_lines(
        tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n % 300}") for n in range(400)]
    )
    with sandbox(tmp_path, "--latency", "0.2-0.4") as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        mill.start("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", "8")
        wait_until(lambda: len(witness.calls()) > 10, 60)
        while_running = examined(mill, "--witness", witness.log)
        mill.kill_everything()
        after_kill = examined(mill, "--witness", witness.log)
    assert while_running["broker"]["message"] == "the embedded one runs"
    assert "0 dead" in while_running["workers"]["message"]
    assert after_kill["workers"]["level"] == "warning"
    assert "worker" in after_kill["workers"]["examples"][0]["detail"]


def test_doctor_where_nothing_is_yet(mill: Mill) -> None:
    """A home that does not exist is no illness; and looking makes none."""
    mill.environ["OPENAI_API_KEY"] = ""
    found = examined(mill)
    assert "there is none yet" in found["database"]["message"]
    assert found["key"]["level"] == "warning"
    assert not mill.home.exists()


def test_doctor_where_keys_lie_open(mill: Mill, tmp_path: Path) -> None:
    """A secrets file that other users may read is named, and what to do about it."""
    path = tmp_path / "secrets"
    path.write_text("OPENAI_API_KEY=any\n")
    path.chmod(0o644)
    mill.environ["BATCHMILL_SECRETS"] = str(path)
    found = examined(mill)
    assert found["settings"]["level"] == "warning"
    assert str(path) in found["settings"]["message"]
    assert "chmod 600" in found["settings"]["message"]
    assert found["key"]["level"] == "ok"
    path.chmod(0o600)
    assert examined(mill)["settings"]["level"] == "ok"


def test_doctor_where_nothing_answers(mill: Mill) -> None:
    """Database and broker away: both are named, and neither stops the other from being looked at."""
    mill.environ |= {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "BROKER_URL": "redis://127.0.0.1:9",
    }
    assert failed(examined(mill, status=1)) == {"database", "broker"}
    mill.environ |= {"DATABASE_URL": "", "BROKER_URL": "", "BATCHMILL_CACHE_TTL": "moderation=soon"}
    found = examined(mill, status=1)
    assert "BATCHMILL_CACHE_TTL" in found["settings"]["message"]


def test_witness_that_is_none(mill: Mill, tmp_path: Path) -> None:
    """No such file, or not the log of a sandbox."""
    assert "calls.log" in mill.refused("doctor", "--witness", tmp_path / "calls.log")
    other = write_lines(tmp_path / "other.txt", ["hello"])
    assert "other.txt" in mill.refused("doctor", "--witness", other)
