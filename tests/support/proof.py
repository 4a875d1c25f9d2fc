"""The proof after a chaos run: every promise (design, §10), held against database, result files, ledger and provider.

The product's own doctor looks first. What follows is found out once more without it, from the rows and the provider's
log alone, so that a doctor who sees nothing is found out, too.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import select

from batchmill.requests.ids import CallName, call_name
from batchmill.requests.model import ENDED, AttemptState
from db.engine import Database
from db.ledger import CORRECTION
from db.tables import attempts, batches, claims, ledger, requests
from tests.support.arena import Arena
from tests.support.mill import Mill, Sandbox, read_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found, all of it in order.

    Attributes:
        lines: Of all batches.
        unknown: Calls of which nobody knows whether they were billed.
    """

    lines: int
    calls: int
    unknown: int
    bill_nanos: int
    known_nanos: int

    def __str__(self) -> str:
        return (
            f"{self.lines} lines, {self.calls} calls, {self.unknown} of them unknown;"
            f" bill {self.bill_nanos} n$, of known cost {self.known_nanos} n$"
        )


def prove(arena: Arena, provider: Sandbox, inputs: Mapping[str, Path], folder: Path) -> Proof:
    """Find every promise kept of batches that have ended.

    Args:
        inputs: The file of each batch, in OpenAI's format, by the batch's id.
        folder: Where results may be written.

    Raises:
        AssertionError: One is broken; its number comes first.
    """
    ask_doctor(arena.mill, provider)
    calls = [call for call in provider.calls() if call_name(call["client_request_id"] or "") is not None]
    rows = _Rows(arena.database)
    _prove_lines(arena, inputs, folder)
    _prove_calls(rows, calls)
    _prove_bill(rows, calls)
    _prove_paid_once(rows, calls)
    return Proof(
        lines=len(rows.requests),
        calls=len(calls),
        unknown=sum(row.state == AttemptState.UNKNOWN for row in rows.attempts.values()),
        bill_nanos=sum(call["cost_nanos"] for call in calls),
        known_nanos=rows.known_nanos,
    )


def ask_doctor(mill: Mill, provider: Sandbox) -> None:
    """Let the installed doctor find nothing broken, the provider's log beside it."""
    done = mill.quickly("doctor", "--json", "--witness", str(provider.log))
    assert done.stdout, done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert sum(one["invariant"] is not None for one in findings) >= 20, "the doctor has looked at nothing"
    broken = [one for one in findings if one["level"] == "failure" and one["invariant"] is not None]
    assert not broken, "; ".join(f"§10.{one['invariant']} {one['check']}: {one}" for one in broken)


class _Rows:
    """All there is, as of one moment."""

    def __init__(self, database: Database) -> None:
        with database.snapshot() as tx:
            self.batches = {row.id: row for row in tx.rows(select(batches))}
            self.requests = {row.id: row for row in tx.rows(select(requests))}
            self.claims = tx.rows(select(claims))
            names = {id_: row.public_id for id_, row in self.batches.items()}
            self.attempts = {
                CallName(
                    batch=names[self.requests[row.request_id].batch_id],
                    place=row.request_id & 0xFFFFFFFF,
                    number=row.number,
                ): row
                for row in tx.rows(select(attempts))
            }
            entries = tx.rows(select(ledger))
        self.known_nanos = sum(entry.cost_nanos or 0 for entry in entries)
        self.corrected = {entry.attempt_id for entry in entries if entry.kind == CORRECTION}
        open_ = [row for row in self.requests.values() if row.state not in ENDED]
        assert not open_, f"§10.1 {len(open_)} lines have not ended: {open_[:3]}"
        assert not self.claims, f"§10.1 claims are left: {self.claims[:3]}"


def _prove_lines(arena: Arena, inputs: Mapping[str, Path], folder: Path) -> None:
    """One output line for each of the input, in its order, in one of both files."""
    for batch, path in inputs.items():
        output, errors = folder / f"{batch}.out.jsonl", folder / f"{batch}.err.jsonl"
        done = arena.mill.quickly("results", batch, "-o", str(output), "--errors", str(errors))
        assert output.exists(), f"§10.1 {batch} has no results: {done.stderr}"
        asked = [line["custom_id"] for line in read_lines(path)]
        files = [[line["custom_id"] for line in read_lines(one)] for one in (output, errors) if one.exists()]
        found = Counter(chain.from_iterable(files))
        assert found == Counter(asked), f"§10.1 {batch}: not each line once: {found - Counter(asked)}"
        place = {name: nth for nth, name in enumerate(asked)}
        assert all(names == sorted(names, key=place.__getitem__) for names in files), f"§10.1 {batch}: order"
        _prove_answers(path, output)


def _prove_answers(questions: Path, output: Path) -> None:
    """Each answer is one to its own question, which the sandbox repeats in whatever it says in full."""
    asked = {line["custom_id"]: line["body"]["messages"][-1]["content"] for line in read_lines(questions)}
    for line in read_lines(output):
        said = line["response"]["body"]["choices"][0]
        question = asked[line["custom_id"]]
        fits = said["finish_reason"] != "stop" or f'"{question[:60]}"' in said["message"]["content"]
        assert fits, f'§10.1 not an answer to "{question}": {said}'


def _prove_calls(rows: _Rows, calls: list[dict[str, Any]]) -> None:
    """Each call once, each with its attempt; further ones with a reason."""
    seen = Counter(_name(call) for call in calls)
    twice = [name for name, times in seen.items() if times > 1]
    assert not twice, f"§10.2 made twice: {twice[:3]}"
    assert seen.keys() <= rows.attempts.keys(), (
        f"§10.3 no attempt: {[*(seen.keys() - rows.attempts.keys())][:3]}"
    )
    assert len(seen) <= len(rows.attempts), "§10.4 more calls than attempts"
    assert all(row.reason for name, row in rows.attempts.items() if name.number > 1), "§10.4 no reason"
    flying = [name for name, row in rows.attempts.items() if row.state == AttemptState.SENT]
    assert not flying, f"§10.7 still said to be under way: {flying[:3]}"


def _prove_bill(rows: _Rows, calls: list[dict[str, Any]]) -> None:
    """What the provider charged is what the ledger says, call by call, but for the calls listed as unknown."""
    unknown_nanos = 0
    for call in calls:
        row = rows.attempts[_name(call)]
        if row.state == AttemptState.UNKNOWN:
            unknown_nanos += call["cost_nanos"]
        else:
            assert row.cost_nanos == call["cost_nanos"], f"§10.7 charged {call}, booked {row}"
    bill_nanos = sum(call["cost_nanos"] for call in calls)
    assert bill_nanos == rows.known_nanos + unknown_nanos, (
        f"§10.7 bill {bill_nanos}, ledger {rows.known_nanos}, of unknown calls {unknown_nanos}"
    )


def _prove_paid_once(rows: _Rows, calls: list[dict[str, Any]]) -> None:
    """Of the calls that put the same question one was paid for and used; the others are listed as unknown, or were
    until their answers came late.

    Only for batches that use the cache, and questions that were answered with 200.
    """
    asked = defaultdict(list)
    for call in calls:
        row = rows.attempts[_name(call)]
        key = rows.requests[row.request_id].cache_key
        if key is not None and call["outcome"] == 200 and not call["fault"]:
            asked[key].append(row)
    for key, of_key in asked.items():
        paid = [row for row in of_key if row.state == AttemptState.SETTLED and row.id not in rows.corrected]
        assert len(paid) <= 1, f"paid twice for {key}: {paid}"


def _name(call: dict[str, Any]) -> CallName:
    name = call_name(call["client_request_id"])
    assert name is not None
    return name
