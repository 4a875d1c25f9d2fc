"""Fairness within large claims: what one worker takes in one go is shared out like what many take one by one."""

from collections import Counter

import pytest

from batchmill.requests.model import Lane
from db.engine import Database
from tests.support.hands import Worker, add_batch


@pytest.mark.parametrize("most", [8, 100, 1_000])
def test_tenants_of_unequal_backlog_are_served_equally(database: Database, most: int) -> None:
    """Backlogs of 10:1:1: while all three have work each gets the same, to within a turn, whatever a claim takes."""
    add_batch(database, 5_000, tenant="crowded")
    for tenant in ("small", "smaller"):
        add_batch(database, 500, tenant=tenant)
    worker, got = Worker(database), Counter[str]()
    while max(got["small"], got["smaller"]) < 500:
        got.update(job.batch.tenant for job in worker.claim(most))
        if max(got["small"], got["smaller"]) < 500:
            turn = max(8, most // 8)
            assert max(got.values()) - min(got.values()) <= turn
    assert got["crowded"] <= 500 + most


def test_lanes_share_by_stride_within_one_claim(database: Database) -> None:
    """A claim of a thousand with every lane waiting is nearly all `high`; a few of the others are with it."""
    for lane in Lane:
        add_batch(database, 5_000, lane=lane)
    worker, got = Worker(database), Counter[Lane]()
    while sum(got.values()) < 4_000:
        got.update(job.batch.lane for job in worker.claim(1_000))
    whole = sum(got.values())
    assert 0.85 * whole <= got[Lane.HIGH] < whole
    assert 0.04 * whole <= got[Lane.NORMAL] <= 0.14 * whole
    assert 0 < got[Lane.LOW] <= 0.03 * whole


def test_alone_a_tenant_gets_the_whole_claim(database: Database) -> None:
    """With nobody else waiting there are no turns: one claim takes all it asks for."""
    add_batch(database, 3_000, tenant="alone")
    assert len(Worker(database).claim(1_000)) == 1_000
