"""Results as they are written out: in input order, and never all at once."""

import tracemalloc
from dataclasses import replace

import pytest

from batchmill.requests.ids import place_of
from db import requests
from db.engine import Database
from tests.support.hands import Worker, add_batch
from tests.support.replies import ANSWERED

ANSWER_BYTES = 100_000


def test_large_answers_come_a_few_at_a_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line once, in order; what is held does not grow with what the answers weigh."""
    monkeypatch.setattr(requests, "PAGE", 100)
    monkeypatch.setattr(requests, "PAGE_BYTES", 10 * ANSWER_BYTES)
    batch = add_batch(database, [None] * 250)
    worker = Worker(database)
    body = b'{"choices":["' + b"x" * ANSWER_BYTES + b'"]}'
    while jobs := worker.take(50):
        worker.answer(replace(ANSWERED, body=body), *jobs)
    tracemalloc.start()
    try:
        places = [place_of(row.id) for row in requests.results(database, batch)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert places == list(range(1, 251))
    assert peak < 60 * ANSWER_BYTES
