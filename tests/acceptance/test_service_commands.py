"""The command line beside the service: what was handed in over HTTP is seen, read and steered there like any batch."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.http_client import names, start_service
from tests.support.mill import Mill, chat_line, sandbox, wait_until


def lines(number: int) -> bytes:
    return "".join(chat_line(f"a-{nth}", f"{nth}?") + "\n" for nth in range(number)).encode()


def metrics(url: str) -> str:
    """What the service tells Prometheus."""
    with urllib.request.urlopen(f"{url}/metrics") as page:
        told: str = page.read().decode()
    return told


def test_seen_and_read(mill: Mill, tmp_path: Path) -> None:
    """`list`, `status` and `results` tell of it what HTTP tells; `/metrics` tells what the home's workers have done."""
    with sandbox(tmp_path) as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        client = start_service(mill)
        batch = client.create(client.upload(lines(20))["id"], job_name="nightly")["id"]
        shown = client.ended(batch)
        (listed,) = json.loads(mill.quickly("list", "--job-name", "nightly", "--json").stdout)
        assert (listed["id"], listed["state"], listed["completed"]) == (batch, "completed", 20)
        status = json.loads(mill.quickly("status", batch, "--watch", "--json").stdout.splitlines()[-1])
        assert status["cost_usd"] == shown["cost_usd"]
        printed = mill.quickly("results", batch)
        assert printed.returncode == 0
        assert printed.stdout.encode() == client.content(shown["output_file_id"])
        output = tmp_path / "out.jsonl"
        assert mill.quickly("results", batch, "-o", output).returncode == 0
        assert output.read_bytes() == client.content(shown["output_file_id"])
        called = 'batchmill_replies_total{model="gpt-4o-mini",next="done",provider="openai",verdict="answered"} 20.0'
        wait_until(lambda: called in metrics(client.url), 20)


def test_steered(mill: Mill, tmp_path: Path) -> None:
    """Paused, resumed and cancelled from the command line, seen so over HTTP, and the files are owed and come."""
    with sandbox(tmp_path, "--latency", "0.3") as provider:
        mill.environ |= {"OPENAI_BASE_URL": provider.url, "BATCHMILL_CONCURRENCY": "2"}
        client = start_service(mill)
        batch = client.create(client.upload(lines(60))["id"])["id"]
        wait_until(lambda: client.batch(batch)["request_counts"]["completed"] > 0, 60)
        assert mill.quickly("pause", batch).returncode == 0
        shown = client.batch(batch)
        assert (shown["status"], shown["paused_reason"]) == ("in_progress", "paused by hand")
        assert mill.quickly("resume", batch).returncode == 0
        assert client.batch(batch)["paused_reason"] is None
        assert mill.quickly("cancel", batch).returncode == 0
        shown = client.ended(batch)
        assert shown["status"] == "cancelled"
        done, failed = client.lines(shown["output_file_id"]), client.lines(shown["error_file_id"])
        assert sorted(names(done + failed)) == sorted(f"a-{nth}" for nth in range(60))
        assert json.loads(mill.quickly("doctor", "--json").stdout)["well"]


def test_never_started(mill: Mill) -> None:
    """One that failed, and one that was cancelled before it was read: the words say what they came to."""
    client = start_service(mill, command="serve")
    bad = client.create(client.upload(b'{"custom_id": "a"}\n')["id"])["id"]
    assert client.ended(bad)["status"] == "failed"
    assert "was not accepted" in mill.refused("results", bad)
    mill.execute(
        "UPDATE batches SET state = 'cancelled', final_state = 'cancelled', started_ms = NULL, last_error = ''"
    )
    said = mill.refused("results", bad, "-o", "out.jsonl")
    assert "has no results: it was cancelled before its input had been read" in said
    printed = mill.quickly("results", bad)
    assert (printed.returncode, printed.stdout) == (1, "")


def test_doctor_misses_a_file(mill: Mill) -> None:
    """What is not in the store, or not whole, is named; nobody is alarmed of what is."""
    client = start_service(mill, command="serve")
    kept, gone, cut = (client.upload(b"xx", purpose="user_data", filename=name)["id"] for name in "abc")
    assert found(mill)["files"]["level"] == "ok"
    (mill.home / "files" / gone).unlink()
    (mill.home / "files" / cut).write_bytes(b"x")
    finding = found(mill)["files"]
    assert finding["level"] == "warning"
    assert [example["detail"] for example in finding["examples"]] == [f"{cut}: c", f"{gone}: b"]
    assert kept not in str(finding)
    assert "BATCHMILL_FILES_URL" in finding["hint"]


def found(mill: Mill) -> dict[str, Any]:
    """What the doctor says, by check."""
    told = json.loads(mill.quickly("doctor", "--json").stdout)
    return {finding["check"]: finding for finding in told["findings"]}


def test_answered_by_a_worker_until_idle(mill: Mill, tmp_path: Path) -> None:
    """What `serve` took in, a `worker --until-idle` reads, answers and writes out before it ends."""
    with sandbox(tmp_path) as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        client = start_service(mill, command="serve")
        batch = client.create(client.upload(lines(30))["id"])["id"]
        done = mill("worker", "--until-idle")
        assert done.returncode == 0, done.stderr
        shown = client.batch(batch)
        assert shown["status"] == "completed"
        assert len(client.lines(shown["output_file_id"])) == 30
