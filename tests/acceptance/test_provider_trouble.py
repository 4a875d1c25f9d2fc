"""`batchmill run` against a sandbox that misbehaves as providers do: every line answered once, money told as it is."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.support.mill import Mill, chat_line, read_lines, sandbox, write_lines

SEEDS = int(os.environ.get("SEEDS", "1"))
RATES = {
    "500": 0.05,
    "529": 0.03,
    "429": 0.03,
    "200-error": 0.03,
    "reset-before": 0.03,
    "reset-after": 0.03,
    "malformed": 0.03,
    "truncated": 0.03,
    "timeout": 0.01,
    "drip": 0.02,
    "length": 0.02,
}
COSTS = """
    SELECT batches.public_id, attempts.request_id & 4294967295, attempts.number, attempts.state, attempts.cost_nanos
    FROM attempts JOIN batches ON batches.id = attempts.request_id >> 32
"""


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_fault_at_once(mill: Mill, tmp_path: Path, seed: int) -> None:
    """A third of all calls go wrong: every line is answered once; bill = ledger, but for calls told as unknown."""
    ids = [f"c{n}" for n in range(150)]
    source = write_lines(tmp_path / "in.jsonl", [chat_line(id_, f"question of {id_}") for id_ in ids])
    mill.environ |= {
        "BATCHMILL_BACKOFF_BASE_S": "0.02",
        "BATCHMILL_CALL_TIMEOUT_S": "2",
        "BATCHMILL_MAX_TRIES": "20",
    }
    faults = [option for name, rate in RATES.items() for option in ("--fault", f"{name}={rate}")]
    with sandbox(tmp_path, "--seed", str(seed), "--drip-time", "0.3", *faults) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        report = mill.run(source, "-o", tmp_path / "out.jsonl")
        calls = {call["client_request_id"]: call for call in witness.calls()}
        assert len(calls) == len(witness.calls()) == report["calls"]
    assert (report["completed"], report["failed"]) == (150, 0)
    assert "call_ended" not in mill.worker_log(), "single calls are logged only where that is asked for"
    assert [line["custom_id"] for line in read_lines(tmp_path / "out.jsonl")] == ids
    assert set(RATES) - {"timeout"} <= {call["fault"] for call in calls.values()}
    attempts = {
        f"batch_req_{batch.removeprefix('batch_')}_{place}/{number}": (state, cost)
        for batch, place, number, state, cost in mill.query(COSTS)
    }
    assert attempts.keys() == calls.keys()
    for name, (state, cost) in attempts.items():
        assert cost == (calls[name]["cost_nanos"] if state == "settled" else None), (name, calls[name])
    unknown = [name for name, (state, _) in attempts.items() if state == "unknown"]
    assert len(unknown) == report["unknown_attempts"]
    billed = sum(call["cost_nanos"] for call in calls.values())
    uncertain = sum(calls[name]["cost_nanos"] for name in unknown)
    assert round(float(report["cost_usd"]) * 1e9) == billed - uncertain


@pytest.mark.parametrize(
    ("lines", "limits"),
    [
        (150, ("--rpm", "80", "--tpm", "1500", "--window", "1", "--forgive-refused", "--per-second")),
        # Refused calls count: as long as fewer wait than fit into a window, waiting as told gets everybody in.
        (120, ("--rpm", "80", "--window", "1")),
    ],
)
def test_limits_are_waited_for(mill: Mill, tmp_path: Path, lines: int, limits: tuple[str, ...]) -> None:
    """More than the provider lets through: refused calls cost nothing and no try, and every line is answered once."""
    ids = [f"c{n}" for n in range(lines)]
    source = write_lines(tmp_path / "in.jsonl", [chat_line(id_, f"question of {id_}") for id_ in ids])
    mill.environ |= {"BATCHMILL_BACKOFF_BASE_S": "0.05", "BATCHMILL_MAX_TRIES": "1"}
    with sandbox(tmp_path, *limits) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        # Higher than what is let through, so that the headers' limits, by the minute, do not count.
        high = ("--rpm", "1000000", "--tpm", "1000000000")
        assert mill("providers", "limit", "openai", "--model", "gpt-4o-mini", *high).returncode == 0
        report = mill.run(source, "-o", tmp_path / "out.jsonl")
        calls = witness.calls()
    outcomes = Counter(call["outcome"] for call in calls)
    assert (report["completed"], report["failed"], report["unknown_attempts"]) == (lines, 0, 0)
    assert [line["custom_id"] for line in read_lines(tmp_path / "out.jsonl")] == ids
    assert outcomes.keys() == {200, 429}
    assert outcomes[200] == lines
    assert report["calls"] == len(calls)
    assert round(float(report["cost_usd"]) * 1e9) == sum(call["cost_nanos"] for call in calls)
