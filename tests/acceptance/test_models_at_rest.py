"""Models that do not answer and are left alone: seen by whoever looks, and no run waits for them for ever."""

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.mill import Mill, Sandbox, chat_line, sandbox, wait_until, write_lines

MODEL = "openai/gpt-4o-mini"
LINES = 20
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def asking(mill: Mill, there: Sandbox, path: Path, **body: Any) -> Path:
    """Some lines for a provider at that address."""
    mill.environ |= {"OPENAI_BASE_URL": there.url, "BATCHMILL_BACKOFF_BASE_S": "0.05"}
    return write_lines(path, [chat_line(f"c{n}", f"question {n}", **body) for n in range(LINES)])


def printed(mill: Mill, *arguments: str, status: int = 0) -> Any:
    """What a command prints as JSON; it has to end so."""
    done = mill.quickly(*arguments, "--json")
    assert done.returncode == status, (done.stdout, done.stderr)
    return json.loads(done.stdout)


@pytest.mark.timeout(180)
def test_a_run_that_waits_for_nothing_else_is_given_up(mill: Mill, tmp_path: Path) -> None:
    """Everything fails: it ends with who rests until when; the same command tries once more, however long that is."""
    mill.environ["BATCHMILL_GIVE_UP_S"] = "3"
    output = tmp_path / "out.jsonl"
    with sandbox(tmp_path, "--fault", "500=1.0") as broken:
        source = asking(mill, broken, tmp_path / "in.jsonl")
        port, begun = broken.port, time.monotonic()
        done = mill("run", source, "-o", output)
        took_s = time.monotonic() - begun
        calls = len(broken.calls())
    assert done.returncode == 1
    assert f"error: nothing has moved for 3 s: {MODEL} does not answer and rests until 2" in done.stderr
    assert "nothing is lost" in done.stderr
    assert "run the same command again then: it goes on" in done.stderr
    assert took_s < 60
    assert calls < LINES * 5
    assert mill.states() == {"paused": 1}
    with sandbox(tmp_path, "--port", port):
        report = mill.run(source, "-o", output)
    assert (report["completed"], report["failed"]) == (LINES, 0)


@pytest.mark.timeout(180)
def test_whoever_looks_sees_who_is_left_alone(mill: Mill, tmp_path: Path) -> None:
    """`run`, `status`, `providers health` and `doctor` name the model, how long it rests, and what it has said."""
    mill.environ["BATCHMILL_CIRCUIT_OPEN_S"] = "30"
    with sandbox(tmp_path, "--fault", "500=1.0") as broken:
        source = asking(mill, broken, tmp_path / "in.jsonl")
        running = mill.start("run", source, "-o", tmp_path / "out.jsonl")
        wait_until(lambda: "circuits" in tables(mill) and bool(mill.states()), 60)
        wait_until(lambda: bool(printed(mill, "status", "latest")["waits_for"]), 60, every_s=0.3)
        [waited_for] = printed(mill, "status", "latest")["waits_for"]
        told = mill.quickly("status", "latest").stdout
        healths = {row["provider"]: row for row in printed(mill, "providers", "health", "--stored")}
        table = mill.quickly("providers", "health", "--stored", "openai").stdout
        elsewhere = mill.quickly("providers", "health", "--stored", "local").stdout
        found = {row["check"]: row for row in printed(mill, "doctor")["findings"]}
        time.sleep(6)  # a line of progress comes every five seconds
        running.send_signal(signal.SIGINT)
        _, narrated = running.communicate(timeout=60)
    assert (waited_for["provider"], waited_for["model"]) == ("openai", "gpt-4o-mini")
    assert (waited_for["cause"], waited_for["due"]) == ("failing", False)
    assert MOMENT.fullmatch(waited_for["until"])
    assert re.search(rf"^waits for +{MODEL}, which rests until {MOMENT.pattern}: \w", told, re.MULTILINE)
    [circuit] = healths["openai"]["circuits"]
    assert circuit["model"] == "gpt-4o-mini"
    assert circuit["reason"]
    assert circuit["times"] >= 1
    assert healths["local"]["circuits"] == []
    assert re.search(rf"^{MODEL} +(open|due|half-open) +failing ", table, re.MULTILINE)
    assert MODEL not in elsewhere
    assert found["circuits"]["level"] == "warning"
    assert MODEL in found["circuits"]["examples"][0]["detail"]
    assert re.search(rf"0 of {LINES} · .*{MODEL} (rests for|is being tried)", narrated)


@pytest.mark.timeout(180)
def test_lines_for_others_go_on(mill: Mill, tmp_path: Path) -> None:
    """A model that rests keeps the lines of its own only: the run is given up when all others are answered."""
    mill.environ["BATCHMILL_GIVE_UP_S"] = "2"
    with sandbox(tmp_path, "--latency", "1") as there:
        source = asking(mill, there, tmp_path / "in.jsonl", model="gpt-4o")
        mill.run(write_lines(tmp_path / "one.jsonl", [chat_line("x", "first")]), "-o", tmp_path / "one.out")
        until_ms = int(time.time() * 1000) + 3_600_000
        mill.execute(
            "INSERT INTO circuits VALUES"
            f" ('openai', 'gpt-4o-mini', 'open', 0, 3, {until_ms}, 0, 0, 'throttled', 'too fast')"
        )
        with source.open("a") as lines:
            lines.write(chat_line("late", "a question of its own") + "\n")
        done = mill("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", "4")
    assert done.returncode == 1
    assert f"nothing has moved for 2 s: {MODEL} does not answer" in done.stderr
    assert "(too fast)" in done.stderr
    assert mill.query("SELECT done, failed FROM batches WHERE total > 1") == [(LINES, 0)]


def tables(mill: Mill) -> set[str]:
    """The tables there are so far."""
    if not (mill.home / "batchmill.db").exists():
        return set()
    return {row[0] for row in mill.query("SELECT name FROM sqlite_master WHERE type = 'table'")}
