"""`batchmill run` with a fallback, while the model asked for does not answer: every line is answered all the same."""

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mill import Mill, Sandbox, chat_line, read_lines, sandbox, write_lines

LINES = 120
CONCURRENCY = 16
THRESHOLD = 5
OPEN_S = 1.0
FALLBACK = "local/llama-4"


@pytest.fixture
def primary(mill: Mill, tmp_path: Path) -> Iterator[Sandbox]:
    """Whom lines ask."""
    (tmp_path / "primary").mkdir()
    with sandbox(tmp_path / "primary", "--drip-time", "30") as witness:
        mill.environ |= {
            "OPENAI_BASE_URL": witness.url,
            "ANTHROPIC_BASE_URL": witness.url.removesuffix("/v1"),
            "ANTHROPIC_API_KEY": "any-key-will-do",
            "BATCHMILL_BACKOFF_BASE_S": "0.05",
            "BATCHMILL_CALL_TIMEOUT_S": "1",
            "BATCHMILL_CIRCUIT_FAILURES": str(THRESHOLD),
            "BATCHMILL_CIRCUIT_OPEN_S": str(OPEN_S),
        }
        yield witness


@pytest.fixture
def fallback(mill: Mill, tmp_path: Path) -> Iterator[Sandbox]:
    """Who is asked else; slow beside a probe, whatever else the machine does."""
    (tmp_path / "fallback").mkdir()
    with sandbox(tmp_path / "fallback", "--latency", "0.1") as witness:
        mill.environ["LOCAL_BASE_URL"] = witness.url
        yield witness


def order(witness: Sandbox, **rates: float) -> None:
    """Have calls meet these faults from now on."""
    url = witness.url.removesuffix("/v1") + "/sandbox/faults"
    told = {"rates": {name.removeprefix("f_").replace("_", "-"): rate for name, rate in rates.items()}}
    request = urllib.request.Request(url, data=json.dumps(told).encode(), method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def lines(model: str, prefix: str, count: int = LINES) -> list[str]:
    return [chat_line(f"{prefix}{n}", f"{prefix} question {n}", model=model) for n in range(count)]


@pytest.mark.parametrize(
    ("fault", "model"),
    [  # what each fault means to each provider, tests/conformance/test_provider_faults.py shows
        ("500", "gpt-4o-mini"),
        ("529", "anthropic/claude-sonnet-5"),
        ("timeout", "gpt-4o-mini"),
        ("drip", "anthropic/claude-sonnet-5"),
        ("reset-before", "gpt-4o-mini"),
        ("reset-after", "anthropic/claude-sonnet-5"),
        ("quota", "gpt-4o-mini"),
    ],
)
def test_the_fallback_answers_every_line(
    mill: Mill, tmp_path: Path, primary: Sandbox, fallback: Sandbox, fault: str, model: str
) -> None:
    """However the model asked for fails, each line is answered once, by the fallback; and the dead one is called no
    more than its circuit allows: too few failures to open it, those in flight when it opened, and a probe each time it
    has rested."""
    order(primary, **{f"f_{fault}": 1.0})
    source = write_lines(tmp_path / "in.jsonl", lines(model, "a"))
    begun = time.monotonic()
    report = mill.run(
        source, "-o", tmp_path / "out.jsonl", "--fallback", FALLBACK, "--concurrency", str(CONCURRENCY)
    )
    rested = (time.monotonic() - begun) / OPEN_S
    assert (report["completed"], report["failed"]) == (LINES, 0)
    assert [line["custom_id"] for line in read_lines(tmp_path / "out.jsonl")] == [
        f"a{n}" for n in range(LINES)
    ]
    assert Counter(call["outcome"] for call in fallback.calls()) == {200: LINES}
    assert 1 <= len(primary.calls()) <= THRESHOLD - 1 + CONCURRENCY + rested
    path = json.loads(mill.query("SELECT steps FROM paths LIMIT 1")[0][0])
    assert path["steps"][-1][:3] == ["local", "llama-4", "answered"]


def test_after_recovery_the_model_asked_for_answers_again(
    mill: Mill, tmp_path: Path, primary: Sandbox, fallback: Sandbox
) -> None:
    """The circuit closes with the first probe that is answered: what comes later is not the fallback's."""
    order(primary, f_500=1.0)
    for_run = ("--fallback", FALLBACK, "--concurrency", str(CONCURRENCY))
    mill.run(
        write_lines(tmp_path / "a.jsonl", lines("gpt-4o-mini", "a")), "-o", tmp_path / "a.out.jsonl", *for_run
    )
    assert mill.query("SELECT state FROM circuits WHERE provider = 'openai'") == [("open",)]
    order(primary)
    failed, answered = len(primary.calls()), len(fallback.calls())
    time.sleep(2 * OPEN_S)
    mill.run(
        write_lines(tmp_path / "b.jsonl", lines("gpt-4o-mini", "b")), "-o", tmp_path / "b.out.jsonl", *for_run
    )
    assert mill.query("SELECT state FROM circuits WHERE provider = 'openai'") in ([], [("closed",)])
    by_primary, by_fallback = len(primary.calls()) - failed, len(fallback.calls()) - answered
    assert by_primary + by_fallback == LINES
    assert by_primary >= LINES / 2, "while the probe is out, the fallback goes on"


def test_without_a_fallback_lines_wait_and_no_attempt_is_burnt(
    mill: Mill, tmp_path: Path, primary: Sandbox
) -> None:
    """An outage longer than a line's patience costs nobody its answer: the circuit keeps the lines from trying."""
    order(primary, f_500=1.0)
    mill.environ["BATCHMILL_MAX_TRIES"] = "3"
    source = write_lines(tmp_path / "in.jsonl", lines("gpt-4o-mini", "a"))
    run = mill.start("run", source, "-o", tmp_path / "out.jsonl", "--concurrency", str(CONCURRENCY))
    deadline = time.monotonic() + 30
    while len(primary.calls()) < THRESHOLD and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(3.0)
    order(primary)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, out + err
    assert len(read_lines(tmp_path / "out.jsonl")) == LINES
    assert len(primary.calls()) <= LINES + 2 * CONCURRENCY


def test_the_fallbacks_answer_is_kept_as_its_own(
    mill: Mill, tmp_path: Path, primary: Sandbox, fallback: Sandbox
) -> None:
    """Who asks the fallback itself has its answer from the cache; who asks for the other model does not."""
    order(primary, f_quota=1.0)
    first = write_lines(tmp_path / "a.jsonl", [chat_line("a", "one question")])
    mill.run(first, "-o", tmp_path / "a.out.jsonl", "--fallback", FALLBACK)
    assert len(fallback.calls()) == 1
    direct = write_lines(tmp_path / "b.jsonl", [chat_line("b", "one question", model=FALLBACK)])
    report = mill.run(direct, "-o", tmp_path / "b.out.jsonl")
    assert (report["cached"], report["calls"]) == (1, 0)
    again = write_lines(tmp_path / "c.jsonl", [chat_line("c", "one question")])
    report = mill.run(again, "-o", tmp_path / "c.out.jsonl", "--fallback", FALLBACK)
    assert (report["cached"], report["completed"]) == (1, 1)
    assert len(fallback.calls()) == 1, "it was paid for twice"
    order(primary)
    mill.environ["BATCHMILL_HOME"] = str(mill.home)
    time.sleep(0.1)
    other = write_lines(tmp_path / "d.jsonl", [chat_line("d", "one question")])
    mill.run(other, "-o", tmp_path / "d.out.jsonl")
    assert [call["outcome"] for call in primary.calls()][-1] == 200
