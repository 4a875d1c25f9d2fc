"""Calls that wait for limits, and what comes between: a stop, a cancelled batch, a model that others wait for."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, update

from batchmill.budgets.model import OnLimit
from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.limits.gate import Gate
from batchmill.limits.memory import MemoryLimiter
from batchmill.limits.model import Limits
from batchmill.pipeline import Pipeline
from batchmill.providers.base import NOT_MADE, Call, Reply, Verdict
from batchmill.requests.ids import request_id
from batchmill.requests.model import Lane
from batchmill.routing.circuits import Cause, CircuitState
from batchmill.routing.names import Target
from batchmill.routing.path import Step, What
from batchmill.routing.wants import Wants
from db import batches, schema
from db.engine import Database
from db.journal import Journal
from db.requests import span
from db.tables import circuits, inputs
from tests.support.budgets import add_budget
from tests.support.clocks import until
from tests.support.hands import add_batch, attempts_of, batch_of, states_of
from tests.support.replies import ANSWERED, BLOCKED, THROTTLED, make_judge, make_offers, make_router
from tests.unit.test_judge import attempt
from workers.pump import Pump

MODEL = "gpt-4o-mini"
OTHER = Target(provider="openai", model="gpt-4.1-nano")
ONE_A_MINUTE = Limits(requests=1)
GRACE_S = 5.0


class NotingProvider:
    """Answers after a moment, with some keys as told; `models` are those that were called, in order."""

    name = "openai"

    def __init__(self) -> None:
        self.models: list[str] = []
        self.replies: dict[int, Reply] = {}
        self.latency_s = 0.01

    async def call(self, call: Call) -> Reply:
        """Note, wait, answer."""
        self.models.append(call.model)
        await asyncio.sleep(self.latency_s)
        return self.replies.get(call.account, ANSWERED)

    def fault(self, call: Call) -> None:
        """It can be asked anything."""

    async def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def mill_database(tmp_path: Path) -> Database:
    """An SQLite database of our schema, going by the machine's clock."""
    database = Database(f"sqlite:///{tmp_path / 'waiting.db'}")
    schema.upgrade(database)
    return database


class Play:
    """A pump, its gate and its provider, while a test acts."""

    def __init__(self, concurrency: int, keys: Sequence[str]) -> None:
        self.provider = NotingProvider()
        self.gate = Gate(
            MemoryLimiter(), accounts={"openai": keys}, room=concurrency // 2, clock=time.monotonic
        )
        self.router = make_router()
        self.is_stopping = False
        self.pipeline: Pipeline | None = None
        self.pumped: asyncio.Task[int] | None = None

    def waiting(self) -> int:
        """How many calls wait at the gate."""
        return sum(len(line.waiting) for line in self.gate._lines.values())


def playing(
    database: Database,
    act: Callable[[Play], Awaitable[None]],
    *,
    limits: Mapping[str, Limits] = {MODEL: ONE_A_MINUTE},
    models: Sequence[ModelEntry] = (),
    concurrency: int = 8,
    grace_s: float = GRACE_S,
    keys: Sequence[str] = ("key",),
    replies: Mapping[int, Reply] = {},
) -> Play:
    """Run a pump beside `act`, and stop it when that has ended."""

    async def run() -> Play:
        play = Play(concurrency, keys)
        play.provider.replies.update(replies)
        play.gate.set_limits({("openai", model): limit for model, limit in limits.items()})
        play.router.set_models(models)
        offers = make_offers()
        offers.set_models(models)
        journal = Journal(database, "worker", lease_ms=15_000)
        async with journal.open():
            play.pipeline = pipeline = Pipeline(
                journal=journal,
                providers={"openai": play.provider},
                limits=play.gate,
                routes=play.router,
                offers=offers,
                judge=make_judge(),
                call_timeout_s=30.0,
                now_ms=database.now_ms,
            )
            pump = Pump(
                claims=journal,
                pipeline=pipeline,
                concurrency=concurrency,
                stopping=lambda: play.is_stopping,
                renew_every_s=0.2,
                grace_s=grace_s,
            )
            play.pumped = asyncio.create_task(pump.run())
            try:
                async with asyncio.timeout(20):
                    await act(play)
            finally:
                play.is_stopping = True
                await play.pumped
                await play.gate.close()
        return play

    try:
        return asyncio.run(run())
    finally:
        database.close()


def add_lines(database: Database, count: int, model: str) -> int:
    """A batch of lines for a model."""
    batch = add_batch(database, count)
    with database.write() as tx:
        tx.run(update(inputs).where(inputs.c.request_id.between(*span(batch))).values(model=model))
    return batch


def test_who_waits_for_limits_goes_back_at_a_stop(mill_database: Database) -> None:
    """Nothing more is sent, nobody waits out the grace, and no claim is left behind."""
    batch = add_batch(mill_database, 20)

    async def act(play: Play) -> None:
        await until(lambda: play.waiting() == 1)
        play.is_stopping = True
        assert play.pumped is not None
        async with asyncio.timeout(GRACE_S - 2):
            await play.pumped

    assert playing(mill_database, act).provider.models == []
    assert Counter(states_of(mill_database, batch)) == {"pending": 20}


def test_who_waits_for_limits_goes_back_when_its_batch_is_cancelled(mill_database: Database) -> None:
    """The batch need not wait for the turn of its lines, which may come in an hour."""
    batch = add_batch(mill_database, 4)

    async def act(play: Play) -> None:
        await until(lambda: play.waiting() == 1)
        with mill_database.write() as tx:
            batches.cancel(tx, batch)
        await until(lambda: play.waiting() == 0)
        await until(lambda: "claimed" not in states_of(mill_database, batch))

    assert playing(mill_database, act).provider.models == []


def leave_alone(database: Database, model: str) -> None:
    """Open the circuit of a model, for an hour."""
    with database.write() as tx:
        tx.run(
            insert(circuits).values(
                provider="openai",
                model=model,
                state=CircuitState.OPEN,
                failures=0,
                opened_times=1,
                open_until_ms=tx.now_ms + 3_600_000,
                probe_until_ms=0,
                counts_from_ms=0,
                cause=Cause.FAILING,
                reason="503",
            )
        )


def test_a_fallback_of_the_catalogue_is_asked_while_a_model_is_left_alone(mill_database: Database) -> None:
    """As one that a request names itself: its lines need not wait until the model is asked again."""
    leave_alone(mill_database, MODEL)
    batch = add_batch(mill_database, 6)
    entry = ModelEntry(provider="openai", model=MODEL, tier=Tier.CHEAP, fallback=(OTHER,))
    asked = replace(attempt(tries=0).job, provider="openai", model=MODEL)

    async def act(play: Play) -> None:
        pipeline = play.pipeline
        assert pipeline is not None
        await until(lambda: pipeline.journal.closed_until_ms(asked.asked, is_lone=True) is not None)
        assert not pipeline.must_wait(asked)
        await until(lambda: states_of(mill_database, batch) == ["done"] * 6)

    played = playing(mill_database, act, limits={}, models=[entry])
    assert played.provider.models == [OTHER.model] * 6


def test_a_model_whose_limits_let_nobody_through_for_long_leaves_lines_to_the_next(
    mill_database: Database,
) -> None:
    """But for the one whose turn is next: at one call a minute three lines with a fallback need not take three."""
    batch = add_batch(mill_database, 3)
    entry = ModelEntry(provider="openai", model=MODEL, tier=Tier.CHEAP, fallback=(OTHER,))

    async def act(play: Play) -> None:
        await until(lambda: sorted(states_of(mill_database, batch)) == ["claimed", "done", "done"])

    played = playing(mill_database, act, models=[entry])
    assert played.provider.models == [OTHER.model] * 2


def test_a_line_that_has_gone_on_to_another_model_does_not_wait_for_the_first(
    mill_database: Database,
) -> None:
    """However many others wait for the model that was given up for it."""
    add_batch(mill_database, 8)
    job = attempt(tries=0).job
    asked = replace(job, provider="openai", model=MODEL, wants=Wants(fallback=(OTHER,)))
    gone_on = replace(asked)
    gone_on.note(Step(target=asked.asked, what=What.TRIED, why="503", at_ms=1))

    async def act(play: Play) -> None:
        await until(lambda: play.gate.is_full(asked.asked))
        assert play.pipeline is not None
        assert play.pipeline.must_wait(asked)
        assert not play.pipeline.must_wait(gone_on)

    playing(mill_database, act)


@pytest.fixture
def downgraded(mill_database: Database) -> int:
    """A batch of one line, at whose budget only the cheaper model fits."""
    add_budget(mill_database, 5_000_000, on_limit=OnLimit.DOWNGRADE)
    batch = add_batch(mill_database, 1)
    with mill_database.write() as tx:
        tx.run(update(inputs).values(body='{"model":"gpt-4o-mini","max_tokens":10000,"messages":[]}'))
    return batch


CHEAPER = ModelEntry(provider="openai", model=OTHER.model, tier=Tier.CHEAP)


def test_a_cheaper_model_whose_limit_is_below_the_call_fails_the_line(
    mill_database: Database, downgraded: int
) -> None:
    """No waiting helps: the line says so, its call costs nothing, and its slot is free again."""

    async def act(play: Play) -> None:
        await until(lambda: states_of(mill_database, downgraded) == ["failed"])

    limits = {OTHER.model: Limits(output_tokens=9_999), MODEL: Limits(concurrency=1)}
    played = playing(mill_database, act, limits=limits, models=[CHEAPER])
    assert played.provider.models == []
    assert not played.gate._out
    row = batch_of(mill_database, downgraded)
    assert row.last_error.startswith(f"request_too_large: {OTHER.name}")
    assert "batchmill providers limit" in row.last_error
    assert (row.spent_nanos, row.unknown_attempts) == (0, 0)


def test_a_call_that_is_cut_off_before_it_was_sent_costs_nothing(
    mill_database: Database, downgraded: int
) -> None:
    """It is written down as sent, but nobody can have answered it: its hold comes back, and its line is tried again."""

    async def act(play: Play) -> None:
        await until(lambda: play.waiting() == 1)

    played = playing(mill_database, act, limits={OTHER.model: ONE_A_MINUTE}, models=[CHEAPER], grace_s=0.3)
    assert played.provider.models == []
    assert states_of(mill_database, downgraded) == ["pending"]
    (sent,) = attempts_of(mill_database, request_id(downgraded, 1))
    assert (sent.model, sent.state, sent.cost_nanos) == (OTHER.model, "settled", 0)
    assert batch_of(mill_database, downgraded).unknown_attempts == 0


@pytest.mark.parametrize(
    "limits",
    [
        {"stuck": ONE_A_MINUTE},
        {"stuck": ONE_A_MINUTE, "too": ONE_A_MINUTE, "and this": ONE_A_MINUTE},
        {"paced": Limits(requests=600)},
        {"paced": Limits(requests=600), "too": Limits(requests=600), "and this": Limits(requests=600)},
    ],
)
def test_models_at_their_limits_leave_slots_and_room_for_others(
    mill_database: Database, limits: Mapping[str, Limits]
) -> None:
    """However many lines wait for however many models, those of a later batch for a free one are answered meanwhile."""
    for model in limits:
        add_lines(mill_database, 400, model)

    async def act(play: Play) -> None:
        await until(lambda: play.waiting() >= len(limits))
        await asyncio.sleep(1.0)
        free = await asyncio.to_thread(add_lines, mill_database, 100, "free")
        await until(lambda: states_of(mill_database, free) == ["done"] * 100)

    playing(mill_database, act, limits=limits, concurrency=64)


def test_high_does_not_wait_for_the_turns_of_others(mill_database: Database) -> None:
    """Half a minute's worth of calls waits for the same model: a line of `high` has the next turn, or the one after."""
    add_batch(mill_database, 60)

    async def act(play: Play) -> None:
        await until(lambda: play.waiting() >= 30)
        high = await asyncio.to_thread(add_batch, mill_database, 1, lane=Lane.HIGH)
        await until(lambda: states_of(mill_database, high) == ["done"])

    playing(mill_database, act, limits={MODEL: Limits(requests=60)}, concurrency=64)


@pytest.mark.parametrize(
    "reply", [replace(THROTTLED, retry_after_s=3_600.0), replace(THROTTLED, retry_after_s=5.0), BLOCKED]
)
def test_a_key_that_may_not_go_on_leaves_the_calls_to_the_others(
    mill_database: Database, reply: Reply
) -> None:
    """Its day's share is used up, or its credit: that is no reason to leave the model alone."""
    batch = add_batch(mill_database, 40)

    async def act(play: Play) -> None:
        async with asyncio.timeout(4.5):
            await until(lambda: states_of(mill_database, batch) == ["done"] * 40)

    playing(mill_database, act, limits={}, keys=("a", "b"), replies={0: reply})


def test_the_last_key_that_may_not_go_on_has_its_model_left_alone(mill_database: Database) -> None:
    """As with a single key: then there is nobody to go to."""
    add_batch(mill_database, 8)
    away = replace(THROTTLED, retry_after_s=3_600.0)

    async def act(play: Play) -> None:
        pipeline = play.pipeline
        assert pipeline is not None
        asked = Target(provider="openai", model=MODEL)
        await until(lambda: pipeline.journal.closed_until_ms(asked, is_lone=True) is not None)

    playing(mill_database, act, limits={}, keys=("a", "b"), replies={0: away, 1: away})


def test_a_call_that_is_withheld_after_its_pass_leaves_its_slot(mill_database: Database) -> None:
    """Its budget has no room: the slot of the concurrency goes to the next call, and not to nobody."""
    add_budget(mill_database, 5_000_000)
    batch = add_batch(mill_database, 3)
    with mill_database.write() as tx:
        tx.run(update(inputs).values(body='{"model":"gpt-4o-mini","max_tokens":10}'))
        first = inputs.c.request_id == request_id(batch, 1)
        tx.run(update(inputs).where(first).values(body='{"model":"gpt-4o-mini","max_tokens":16000}'))

    async def act(play: Play) -> None:
        await until(lambda: states_of(mill_database, batch)[1:] == ["done"] * 2)
        await until(lambda: not play.gate._out)

    playing(mill_database, act, limits={MODEL: Limits(concurrency=1)})


def test_a_lease_that_is_lost_while_a_connection_is_made(mill_database: Database) -> None:
    """Asked with a connection in hand, the call may not go out any more; it costs nothing, and has not been a try."""
    batch = add_batch(mill_database, 1)

    async def act(play: Play) -> None:
        async def call(call: Call) -> Reply:
            assert call.may_go is not None
            assert call.may_go()
            if not play.provider.models:
                play.provider.models.append(call.model)
                play.pipeline.journal._held_until_s.clear()
                assert not call.may_go()
                return Reply(verdict=Verdict.UNREACHABLE, error_code=NOT_MADE)
            return ANSWERED

        play.provider.call = call
        await until(lambda: states_of(mill_database, batch) == ["done"])

    playing(mill_database, act, limits={})
    assert [(row.error, row.cost_nanos) for row in attempts_of(mill_database, request_id(batch, 1))][:1] == [
        (NOT_MADE, 0)
    ]
