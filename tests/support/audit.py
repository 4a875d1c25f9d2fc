"""The books, checked row by row: what must be true after every single transaction (design, §10)."""

from collections import Counter, defaultdict
from typing import Any

import orjson
from sqlalchemy import select

from batchmill.requests.ids import place_of
from db.engine import Database, Transaction
from db.tables import answers, attempts, batches, claims, flights, ledger, requests

ENDED = {"done", "failed", "cancelled", "expired"}


class Books:
    """Everything in the database at one moment."""

    def __init__(self, tx: Transaction) -> None:
        self.batches = {row.id: row for row in tx.rows(select(batches))}
        self.requests = {row.id: row for row in tx.rows(select(requests))}
        self.claims = {row.id: row for row in tx.rows(select(claims))}
        self.flights = {row.cache_key: row for row in tx.rows(select(flights))}
        self.attempts = tx.rows(select(attempts).order_by(attempts.c.request_id, attempts.c.number))
        self.ledger = tx.rows(select(ledger).order_by(ledger.c.id))
        self.answers = {row.id for row in tx.rows(select(answers.c.id))}


def audit(database: Database) -> Books:
    """Check everything that must hold at any moment; the books, for more."""
    with database.write() as tx:  # one moment, on both databases
        books = Books(tx)
    _check_counters(books)
    _check_claims(books)
    _check_flights(books)
    _check_attempts(books)
    _check_money(books)
    return books


def _check_counters(books: Books) -> None:
    by_state: dict[int, Counter[str]] = defaultdict(Counter)
    for row in books.requests.values():
        by_state[row.batch_id][row.state] += 1
    for batch in books.batches.values():
        if batch.state in ("validating", "failed"):
            continue
        counted = by_state[batch.id]
        claimed = {name: getattr(batch, name) for name in ENDED}
        assert claimed == {name: counted[name] for name in ENDED}, f"counters of batch {batch.id}"
        ended = sum(claimed.values())
        is_ended = batch.state in ("finalizing", "completed", "cancelled", "expired")
        assert is_ended == (ended == batch.total), (
            f"batch {batch.id} is {batch.state}: {ended} of {batch.total}"
        )


def _check_claims(books: Books) -> None:
    listed = {id_: set(orjson.loads(claim.request_ids)) for id_, claim in books.claims.items()}
    for row in books.requests.values():
        assert (row.state == "claimed") == (row.claim_id is not None), row
        if row.claim_id is not None:
            assert row.id in listed.get(row.claim_id, ()), f"{row} is claimed by nobody who could lose it"
        is_behind = place_of(row.id) <= books.batches[row.batch_id].cursor
        if row.state == "pending":
            assert is_behind == (row.next_run_ms is not None), f"{row} cannot be claimed"
        else:
            assert row.next_run_ms is None, row
        if row.state in ("done", "failed"):
            assert row.answer_id in books.answers, row


def _check_flights(books: Books) -> None:
    for row in books.requests.values():
        if row.state != "waiting":
            continue
        flight = books.flights.get(row.cache_key)
        assert flight is not None, f"{row} waits for nobody"
        assert flight.followers > 0, f"{row} is not known to wait"
        leader = books.requests[flight.request_id]
        assert leader.id != row.id, f"{row} waits for itself"
        assert leader.state in ("pending", "claimed", "cancelled", "expired"), f"{row} waits for {leader}"


def _check_attempts(books: Books) -> None:
    numbers: dict[int, list[int]] = defaultdict(list)
    open_calls: Counter[str] = Counter()
    for attempt in books.attempts:
        numbers[attempt.request_id].append(attempt.number)
        request = books.requests[attempt.request_id]
        assert (attempt.number == 1) == (attempt.reason == "first"), f"{attempt} has no reason"
        if attempt.state == "sent":
            assert (request.state, request.claim_id) == ("claimed", attempt.claim_id), (attempt, request)
            if request.cache_key is not None:
                open_calls[request.cache_key] += 1
    for request_id, found in numbers.items():
        assert found == list(range(1, len(found) + 1)), f"attempts of {request_id}: {found}"
    doubled = [key for key, calls in open_calls.items() if calls > 1]
    assert not doubled, f"asked twice at the same time: {doubled}"


def _check_money(books: Books) -> None:
    spent: Counter[int] = Counter()
    entries: dict[int, list[Any]] = defaultdict(list)
    hits: Counter[int] = Counter()
    for entry in books.ledger:
        spent[entry.batch_id] += entry.cost_nanos or 0
        hits[entry.batch_id] += entry.kind == "hit"
        if entry.attempt_id is not None:
            entries[entry.attempt_id].append(entry)
    calls: Counter[int] = Counter()
    unknown: Counter[int] = Counter()
    unpriced: Counter[int] = Counter()
    for attempt in books.attempts:
        batch = books.requests[attempt.request_id].batch_id
        calls[batch] += 1
        unknown[batch] += attempt.state == "unknown"
        unpriced[batch] += attempt.state == "settled" and attempt.cost_nanos is None
        kinds = [entry.kind for entry in entries[attempt.id]]
        if attempt.state == "sent":
            assert kinds == [], attempt
        elif attempt.state == "unknown":
            assert kinds == ["call"], attempt
            assert attempt.cost_nanos is None, attempt
            assert entries[attempt.id][0].cost_nanos is None, attempt
        else:
            assert kinds in (["call"], ["call", "correction"]), (attempt, kinds)
            known = [entry.cost_nanos for entry in entries[attempt.id] if entry.cost_nanos is not None]
            assert known == ([] if attempt.cost_nanos is None else [attempt.cost_nanos]), attempt
    for batch in books.batches.values():
        assert batch.spent_nanos == spent[batch.id], f"batch {batch.id}: spent"
        assert batch.calls == calls[batch.id], f"batch {batch.id}: calls"
        assert batch.unknown_attempts == unknown[batch.id], f"batch {batch.id}: unknown"
        assert batch.unpriced == unpriced[batch.id], f"batch {batch.id}: unpriced"
        assert batch.cached == hits[batch.id], f"batch {batch.id}: hits"
