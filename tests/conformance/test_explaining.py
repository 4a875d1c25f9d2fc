"""What has become of a line of a batch, and what comes next, as the database tells it."""

from typing import Any

import pytest

from batchmill.errors import ConflictError, NotFoundError
from batchmill.requests.model import AttemptState, BatchOptions, RequestState
from batchmill.settings import Settings, load_settings
from db import batches
from db.engine import Database
from tests.support.hands import Worker, add_batch
from tests.support.replies import ANSWERED, FAULTY
from workers.explaining import Explainer, History, Turn

MODEL = "openai/gpt-4o-mini"


@pytest.fixture
def settings(database_url: str) -> Settings:
    """With a key for OpenAI."""
    return load_settings({"DATABASE_URL": database_url, "OPENAI_API_KEY": "x"}, None)


def explained(settings: Settings, database: Database, batch: int, custom_id: str) -> History:
    """The history of a line."""
    with database.read() as tx:
        row: Any = batches.rows(tx, [batch])[batch]
    return Explainer.of(settings, database).request(row, custom_id)


def test_a_line_that_was_answered_at_the_second_call(
    settings: Settings, database: Database, clock: Any
) -> None:
    """Every call in its order with why it was made, and whose answer it has."""
    batch, worker = add_batch(database, 2), Worker(database)
    first, _ = worker.take()
    worker.answer(FAULTY, first)
    clock.advance(60_000)
    [again] = worker.take()
    worker.answer(ANSWERED, again)
    found = explained(settings, database, batch, "line-1")
    assert found.row.state == RequestState.DONE
    assert [(call.number, call.state, call.reason) for call in found.calls] == [
        (1, AttemptState.SETTLED, "first"),
        (2, AttemptState.SETTLED, FAULTY.error_code),
    ]
    assert found.answered_by is not None
    assert found.answered_by.name == MODEL
    assert (found.is_from_cache, found.can_be_answered, found.plan) == (False, True, None)


def test_an_answer_of_another_line_is_told_as_such(settings: Settings, database: Database) -> None:
    """It was answered without a call of its own."""
    batch, worker = add_batch(database, ["same", "same"]), Worker(database)
    worker.answer(ANSWERED, *worker.take())
    found = explained(settings, database, batch, "line-2")
    assert (found.row.state, found.calls, found.is_from_cache) == (RequestState.DONE, (), True)


def test_a_line_that_has_not_ended_has_a_plan(settings: Settings, database: Database) -> None:
    """Whom it asks for is next, as long as calls can be made here; without a key nobody can."""
    batch = add_batch(database, 1)
    plan = explained(settings, database, batch, "line-1").plan
    assert plan is not None
    assert [(link.target.name, link.turn) for link in plan.chain] == [(MODEL, Turn.NEXT)]
    keyless = load_settings({"DATABASE_URL": settings.database.url}, None)
    found = explained(keyless, database, batch, "line-1")
    assert found.plan is not None
    assert found.plan.chain[0].turn is Turn.OUT
    assert not found.can_be_answered


def test_no_such_line_and_no_lines_yet(settings: Settings, database: Database) -> None:
    """Both are told with the batch's name."""
    batch = add_batch(database, 1)
    with pytest.raises(NotFoundError, match='has no line "nobody"'):
        explained(settings, database, batch, "nobody")
    with database.write() as tx:
        empty = batches.create(tx, BatchOptions()).id
    with pytest.raises(ConflictError, match="validating"):
        explained(settings, database, empty, "line-1")
