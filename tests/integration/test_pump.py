"""The pump on a real database, with a provider that answers when told to."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from batchmill import pipeline
from batchmill.budgets import aside
from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.pipeline import Pipeline
from batchmill.providers.base import Call, Provider, Reply
from batchmill.requests.ids import request_id
from batchmill.requests.model import BatchState, Lane, RequestState
from batchmill.requests.work import Job
from batchmill.routing.circuits import CircuitRules
from batchmill.routing.names import Target
from batchmill.routing.path import Step, What
from batchmill.routing.router import Router
from batchmill.routing.wants import Wants, dump_wants
from db import attempts, journal, requests, schema
from db.engine import Database
from db.journal import Journal
from db.settle import Work
from db.tables import inputs
from tests.support.budgets import add_budget
from tests.support.clocks import until
from tests.support.hands import Worker, add_batch, batch_of, send_of, states_of
from tests.support.replies import (
    ANSWERED,
    BLOCKED,
    FAULTY,
    REFUSED,
    make_gate,
    make_judge,
    make_offers,
    make_router,
)
from workers.pump import POLL_S, Pump

LEASE_MS = 15_000
OTHER = Target(provider="local", model="llama")


class PatientProvider:
    """Holds every call until it is told to answer."""

    name = "openai"

    def __init__(self, reply: Reply = ANSWERED) -> None:
        self.calls: list[Call] = []
        self.answering = asyncio.Event()
        self._reply = reply

    async def call(self, call: Call) -> Reply:
        """Wait, then answer."""
        self.calls.append(call)
        await self.answering.wait()
        return self._reply

    def fault(self, call: Call) -> None:
        """It can be asked anything."""

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def mill_database(tmp_path: Path) -> Database:
    """An SQLite database of our schema, going by the machine's clock."""
    database = Database(f"sqlite:///{tmp_path / 'pump.db'}")
    schema.upgrade(database)
    return database


def make_pipeline(journal: Journal, provider: Provider, router: Router) -> Pipeline:
    """A pipeline to one provider."""
    return Pipeline(
        journal=journal,
        providers={"openai": provider, "local": provider},
        limits=make_gate(),
        routes=router,
        offers=make_offers(),
        judge=make_judge(),
        call_timeout_s=30.0,
        now_ms=journal.database.now_ms,
    )


def pumping(
    database: Database, act: Callable[[PatientProvider, list[bool]], Awaitable[None]], concurrency: int = 4
) -> PatientProvider:
    """Run a pump beside `act`, which may tell it to stop by adding to the list; the provider it called."""

    async def run() -> PatientProvider:
        provider, told = PatientProvider(), [False]
        journal = Journal(database, "worker", lease_ms=LEASE_MS)
        async with journal.open():
            pipeline = make_pipeline(journal, provider, make_router())
            pump = Pump(
                claims=journal,
                pipeline=pipeline,
                concurrency=concurrency,
                stopping=lambda: told[-1],
                grace_s=0.5,
            )
            await asyncio.gather(pump.run(), act(provider, told))
        return provider

    provider = asyncio.run(run())
    database.close()
    return provider


def test_a_slot_is_kept_for_high(mill_database: Database) -> None:
    """However long the calls of low take, a high request that comes later starts beside them."""
    add_batch(mill_database, 20, lane=Lane.LOW)

    async def act(provider: PatientProvider, _told: list[bool]) -> None:
        await until(lambda: len(provider.calls) == 3)
        await asyncio.sleep(0.3)
        assert len(provider.calls) == 3
        high = await asyncio.to_thread(add_batch, mill_database, 1, lane=Lane.HIGH)
        await until(lambda: len(provider.calls) == 4)
        with mill_database.read() as tx:
            assert attempts.oldest_in_flight(tx, *requests.span(high)) is not None
        provider.answering.set()

    assert len(pumping(mill_database, act).calls) == 21


def test_no_more_is_held_than_will_soon_be_called(mill_database: Database) -> None:
    """However large a batch of `high` is, a worker whose calls take long holds some of it and leaves the rest."""
    batch = add_batch(mill_database, 200, lane=Lane.HIGH)

    async def act(provider: PatientProvider, _told: list[bool]) -> None:
        await until(lambda: len(provider.calls) == 4)
        await asyncio.sleep(6 * POLL_S)
        assert Counter(states_of(mill_database, batch))["claimed"] <= 4 + 3 * 4
        provider.answering.set()

    assert len(pumping(mill_database, act).calls) == 200


def test_told_to_stop_it_starts_nothing_more(mill_database: Database) -> None:
    """Calls in flight end, what was only claimed goes back, and no claim is left."""
    batch = add_batch(mill_database, 20)

    async def act(provider: PatientProvider, told: list[bool]) -> None:
        await until(lambda: len(provider.calls) == 3)
        told.append(True)
        await asyncio.sleep(0.1)
        provider.answering.set()

    assert len(pumping(mill_database, act).calls) == 3
    assert Counter(states_of(mill_database, batch)) == {"done": 3, "pending": 17}


def test_calls_that_outlast_the_grace_are_unknown(mill_database: Database) -> None:
    """They are cut off and recorded as what they are; their requests go back."""
    batch = add_batch(mill_database, 8)

    async def act(provider: PatientProvider, told: list[bool]) -> None:
        await until(lambda: len(provider.calls) == 3)
        told.append(True)

    pumping(mill_database, act)
    assert Counter(states_of(mill_database, batch)) == {"pending": 8}
    assert batch_of(mill_database, batch).unknown_attempts == 3


def test_everything_is_answered_and_the_pump_ends_by_itself(mill_database: Database) -> None:
    """With nothing left to claim and nothing in flight it gives its process back."""
    batch = add_batch(mill_database, 300)

    async def act(provider: PatientProvider, _told: list[bool]) -> None:
        provider.answering.set()

    assert len(pumping(mill_database, act, concurrency=32).calls) == 300
    assert batch_of(mill_database, batch).state == BatchState.FINALIZING


def add_long_and_short(database: Database, count: int) -> int:
    """A batch whose first line asks for an answer a thousand times as long as the others do."""
    batch = add_batch(database, count)
    with database.write() as tx:
        tx.run(update(inputs).values(body='{"model":"gpt-4o-mini","max_tokens":10}'))
        first = inputs.c.request_id == request_id(batch, 1)
        tx.run(update(inputs).where(first).values(body='{"model":"gpt-4o-mini","max_tokens":10000}'))
    return batch


@pytest.mark.parametrize(
    ("whose", "given_up", "waits"),
    [("nobody", (), True), ("batch", (), False), ("catalogue", (), False), ("catalogue", (OTHER,), True)],
)
def test_a_line_need_not_wait_for_a_model_at_rest_while_a_fallback_answers(
    mill_database: Database, whose: str, given_up: tuple[Target, ...], waits: bool
) -> None:
    """Whoever has named the fallback; but one that has been given up for the line is none any more."""
    routing = dump_wants(Wants(fallback=(OTHER,))) if whose == "batch" else ""
    add_batch(mill_database, 4, routing=routing)
    worker = Worker(mill_database, rules=CircuitRules(threshold=1, failing_ms=60_000))
    worker.answer(FAULTY, worker.take(1)[0])
    router = make_router()
    if whose == "catalogue":
        router.set_models(
            [ModelEntry(provider="openai", model="gpt-4o-mini", tier=Tier.CHEAP, fallback=(OTHER,))]
        )

    async def run() -> bool:
        journal = Journal(mill_database, "worker", lease_ms=LEASE_MS)
        async with journal.open():
            pipeline = make_pipeline(journal, PatientProvider(), router)
            _, jobs = await journal.claim({Lane.NORMAL: 1})
            for target in given_up:
                jobs[0].note(Step(target=target, what=What.TRIED, why="500", at_ms=1))
            return pipeline.must_wait(jobs[0])

    assert asyncio.run(run()) is waits
    mill_database.close()


def run_with_fallback(database: Database, before: Reply, reply: Reply) -> tuple[int, Job]:
    """A line with a fallback that is answered so, after the model it asks for has been left alone for another reply;
    its batch, and the line once it has been worked on."""
    batch = add_batch(database, 2, routing=dump_wants(Wants(fallback=(OTHER,))))
    worker = Worker(database, rules=CircuitRules(threshold=1, failing_ms=60_000))
    send = replace(send_of(worker.take(1)[0]), has_next=True)
    worker.settle(*((attempt, before) for attempt in worker.write(Work(sends=[send])).attempts.values()))

    async def run() -> Job:
        journal, provider = Journal(database, "worker", lease_ms=LEASE_MS), PatientProvider(reply)
        provider.answering.set()
        async with journal.open():
            jobs: list[Job] = []
            while not any(job.attempts == 0 for job in jobs):
                jobs = (await journal.claim({Lane.NORMAL: 1}))[1]
            await make_pipeline(journal, provider, make_router()).run(jobs[0], lambda: None)
        assert [call.model for call in provider.calls] == [OTHER.model]
        return jobs[0]

    return batch, asyncio.run(run())


@pytest.mark.parametrize("before", [FAULTY, BLOCKED])
def test_a_fallback_answers_while_the_model_asked_for_is_left_alone(
    mill_database: Database, before: Reply
) -> None:
    """Be it that its account is blocked: nobody is asked in vain while there is another. The path tells both."""
    _, job = run_with_fallback(mill_database, before, ANSWERED)
    assert [(step.target, step.what) for step in job.path.steps] == [
        (job.asked, What.SKIPPED),
        (OTHER, What.ANSWERED),
    ]
    mill_database.close()


@pytest.mark.parametrize("reply", [BLOCKED, replace(REFUSED, error_code="model_not_found")])
def test_a_fallback_that_cannot_answer_leaves_the_line_to_whom_it_asked_for(
    mill_database: Database, reply: Reply
) -> None:
    """That one only rests: the line waits for it. It does not fail, and its batch is not stopped."""
    batch, job = run_with_fallback(mill_database, FAULTY, reply)
    assert job.path.given_up == {OTHER}
    assert states_of(mill_database, batch) == [RequestState.PENDING] * 2
    assert batch_of(mill_database, batch).state == BatchState.IN_PROGRESS
    mill_database.close()


def test_a_first_line_without_room_does_not_stop_the_others(mill_database: Database) -> None:
    """The very first line may cost more than its budget has: the others are answered all the same, also one by one."""
    add_budget(mill_database, 1_000_000)
    batch = add_long_and_short(mill_database, 20)

    async def act(provider: PatientProvider, _told: list[bool]) -> None:
        provider.answering.set()

    assert len(pumping(mill_database, act, concurrency=1).calls) == 19
    assert Counter(states_of(mill_database, batch)) == {"done": 19, "pending": 1}


def test_a_line_without_room_does_not_stop_those_that_wait_for_calls_in_flight(
    mill_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While calls in flight hold what the others wait for, no other can have fitted since it was last tried: that they
    wait is enough."""
    monkeypatch.setattr(aside, "LEAST_MS", 200)
    monkeypatch.setattr(aside, "MOST_TRIES_IN_USE", 5)
    monkeypatch.setattr(journal, "TIGHT_S", 0.05)
    monkeypatch.setattr(pipeline, "TIGHT_MS", 50)
    add_budget(mill_database, 16_000)
    batch = add_long_and_short(mill_database, 9)

    async def act(provider: PatientProvider, _told: list[bool]) -> None:
        await until(lambda: len(provider.calls) == 2)
        await asyncio.sleep(2.5)  # by then the long one has been tried again, and again
        assert len(provider.calls) == 2
        assert batch_of(mill_database, batch).state == BatchState.IN_PROGRESS
        provider.answering.set()

    pumping(mill_database, act, concurrency=16)
