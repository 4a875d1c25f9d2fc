"""The desk: whoever waits gets his answer by the same rules as a batch, on both databases, from a real sandbox."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchmill.budgets.model import OnLimit, Scope
from batchmill.cache.lines import LineKeys
from batchmill.errors import BusyError, OutOfTimeError
from batchmill.limits.owner import OwnerLimits
from batchmill.providers.base import Reply
from batchmill.requests.judge import Judge
from batchmill.requests.model import CacheMode, RequestState
from batchmill.routing.names import Target
from batchmill.routing.wants import Wants, dump_wants
from batchmill.sandbox.app import Behaviour
from batchmill.streams.relay import Relay
from db.direct import Entry, new_entry_id
from db.journal import Journal
from tests.support.clocks import until
from tests.support.direct import OPTIONS, Place, at_desk, chat, place
from tests.support.hands import send_of
from tests.support.replies import ANSWERED, make_judge
from workers.addresses import upstreams_of
from workers.assembly import make_judge as judge_of
from workers.serving import desk as desk_module
from workers.serving.desk import Desk
from workers.upkeep import bury_the_dead

SLOW = Behaviour(latency_s=(0.3, 0.3))
SLOWER = Behaviour(latency_s=(3.0, 3.0))
HANGS = "sandbox/timeout"


def test_an_answer_is_called_for_once(database_url: str, tmp_path: Path) -> None:
    """The first to ask is called for; who asks it again has it from the cache, for nothing."""

    async def use(desk: Desk, _: Place) -> None:
        first = await desk.answer(chat("hello"), OPTIONS)
        again = await desk.answer(chat("hello"), OPTIONS)
        assert (first.standing.state, first.standing.is_cached) == (RequestState.DONE, False)
        assert (first.standing.cost_nanos or 0) > 0
        assert (again.standing.is_cached, again.standing.cost_nanos) == (True, 0)
        assert again.standing.body == first.standing.body
        assert (first.selection, first.standing.model) == ("manual", "gpt-4o-mini")

    here = at_desk(use, database_url, tmp_path)
    assert len(here.calls()) == 1
    assert here.states()["batches"] == {"completed": 2}
    assert here.leftovers() == {"claims": 0, "flights": 0, "workers": 0}
    here.books()


def test_those_who_ask_the_same_at_once_make_one_call(database_url: str, tmp_path: Path) -> None:
    """Of fifty with one question one is called for, and all have its answer."""

    async def use(desk: Desk, _: Place) -> None:
        answered = await asyncio.gather(*(desk.answer(chat("hello"), OPTIONS) for _ in range(50)))
        assert len({one.standing.body for one in answered}) == 1
        assert sum(one.standing.is_cached for one in answered) == 49

    here = at_desk(use, database_url, tmp_path, SLOW)
    assert len(here.calls()) == 1
    here.books()


def test_every_call_has_been_written_down_before(database_url: str, tmp_path: Path) -> None:
    """What the provider sees is what attempts were recorded and held for, each once."""

    async def use(desk: Desk, here: Place) -> None:
        here.add_budget(10**12)
        await asyncio.gather(*(desk.answer(chat(f"question {n}"), OPTIONS) for n in range(30)))

    here = at_desk(use, database_url, tmp_path)
    seen = Counter(call["client_request_id"] for call in here.calls())
    books = here.books()
    assert len(seen) == len(books.attempts) == 30
    assert set(seen.values()) == {1}
    assert all(row.hold_nanos > 0 and row.held_on for row in books.attempts)
    (period,) = here.budgets()
    assert (period.held_nanos, period.spent_nanos) == (0, sum(cost or 0 for cost in here.costs()))


@pytest.mark.parametrize("on_limit", list(OnLimit))
def test_a_small_budget_is_never_exceeded(database_url: str, tmp_path: Path, on_limit: OnLimit) -> None:
    """Two hundred at once on room for some: those are answered, the others are told at once, and pay nothing."""
    limit_nanos = 300_000

    async def use(desk: Desk, here: Place) -> None:
        here.add_budget(limit_nanos, on_limit=on_limit)
        asked = (desk.answer(chat(f"question {n}", max_tokens=30), OPTIONS) for n in range(200))
        stand = [one.standing for one in await asyncio.gather(*asked)]
        refused = [one for one in stand if one.state is not RequestState.DONE]
        assert 0 < len(refused) < 200
        assert {one.error_code for one in refused} == {"budget_exceeded"}
        assert {one.cost_nanos for one in refused} == {0}
        assert "budget" in refused[0].error_message

    here = at_desk(use, database_url, tmp_path, Behaviour(latency_s=(0.0, 0.05)))
    (period,) = here.budgets()
    assert period.held_nanos == 0
    assert limit_nanos // 2 < period.spent_nanos <= limit_nanos
    books = here.books()
    assert all(row.ended_ms is not None for row in books.batches.values())


def test_a_budget_without_room_is_told_at_once(database_url: str, tmp_path: Path) -> None:
    """No call is made, nothing is charged, and no batch stands still for it."""

    async def use(desk: Desk, here: Place) -> None:
        here.add_budget(1, scope=Scope.TENANT, name="local")
        async with asyncio.timeout(30):
            answered = await desk.answer(chat("hello"), OPTIONS)
        assert answered.standing.error_code == "budget_exceeded"

    here = at_desk(use, database_url, tmp_path)
    assert here.calls() == []
    assert here.states() == {"batches": {"completed": 1}, "requests": {"failed": 1}, "attempts": {}}


def test_who_leaves_does_not_cut_the_call_off(database_url: str, tmp_path: Path) -> None:
    """The call that is out is settled and its answer kept: who comes back has it for nothing."""

    async def use(desk: Desk, here: Place) -> None:
        asking = asyncio.create_task(desk.answer(chat("hello"), OPTIONS))
        await until(lambda: bool(here.calls()))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: bool(here.costs()))
        assert (await desk.answer(chat("hello"), OPTIONS)).standing.is_cached

    here = at_desk(use, database_url, tmp_path, SLOW)
    assert len(here.calls()) == 1
    assert here.states()["attempts"] == {"settled": 1}
    here.books()


def test_who_leaves_before_his_turn_is_not_called_for(database_url: str, tmp_path: Path) -> None:
    """With one slot, taken, whoever goes away from the line behind it costs nothing."""

    async def use(desk: Desk, here: Place) -> None:
        first = asyncio.create_task(desk.answer(chat("first"), OPTIONS))
        await until(lambda: bool(here.calls()))
        second = asyncio.create_task(desk.answer(chat("second"), OPTIONS))
        await until(lambda: len(here.states()["requests"]) > 0 and here.leftovers()["claims"] == 2)
        second.cancel()
        await first
        await until(lambda: here.states()["requests"] == {"done": 1, "cancelled": 1})

    here = at_desk(use, database_url, tmp_path, SLOWER, BATCHMILL_CONCURRENCY="1")
    assert len(here.calls()) == 1
    here.books()


def test_who_waits_behind_one_who_leaves_is_called_for(database_url: str, tmp_path: Path) -> None:
    """Of two in line with the same question the first goes away: the second is answered all the same, at once."""

    async def use(desk: Desk, here: Place) -> None:
        busy = asyncio.create_task(desk.answer(chat("something else"), OPTIONS))
        await until(lambda: bool(here.calls()))
        leader = asyncio.create_task(desk.answer(chat("hello"), OPTIONS))
        await until(lambda: here.leftovers()["claims"] == 2)
        follower = asyncio.create_task(desk.answer(chat("hello"), OPTIONS))
        await until(lambda: here.states()["requests"].get("waiting") == 1)
        leader.cancel()
        assert (await follower).standing.state is RequestState.DONE
        await busy

    here = at_desk(use, database_url, tmp_path, SLOWER, BATCHMILL_CONCURRENCY="1")
    assert here.states()["requests"] == {"done": 2, "cancelled": 1}
    assert len(here.calls()) == 2
    here.books()


def test_leases_last_as_long_as_the_line_is(database_url: str, tmp_path: Path) -> None:
    """Who waits for longer than a lease, and whose call takes longer than one, is called for once."""

    async def use(desk: Desk, _: Place) -> None:
        answered = await asyncio.gather(*(desk.answer(chat(f"question {n}"), OPTIONS) for n in range(2)))
        assert {one.standing.state for one in answered} == {RequestState.DONE}

    long = Behaviour(latency_s=(1.5, 1.5))
    lease = {"BATCHMILL_LEASE_S": "1", "BATCHMILL_CONCURRENCY": "1"}
    here = at_desk(use, database_url, tmp_path, long, **lease)
    assert len(here.calls()) == 2
    assert here.states()["attempts"] == {"settled": 2}


def test_limits_hold_at_the_desk(database_url: str, tmp_path: Path) -> None:
    """Of a model that takes one call at a time one is out at a time, and all are answered."""

    async def use(desk: Desk, here: Place) -> None:
        asked = asyncio.gather(*(desk.answer(chat(f"question {n}"), OPTIONS) for n in range(5)))
        most = 0
        while not asked.done():
            most = max(most, here.states()["attempts"].get("sent", 0))
            await asyncio.sleep(0.01)
        assert {one.standing.state for one in await asked} == {RequestState.DONE}
        assert most <= 2  # one that is called, and one that is written down and waits for its moment

    async def run() -> Place:
        async with place(database_url, tmp_path, Behaviour(latency_s=(0.1, 0.1))) as here:
            here.limit(OwnerLimits(provider="openai", model="gpt-4o-mini", concurrency=1))
            async with Desk(here.settings).open() as desk:
                await use(desk, here)
            return here

    assert len(asyncio.run(run()).calls()) == 5


def test_a_fault_is_tried_again_and_then_told(database_url: str, tmp_path: Path) -> None:
    """A provider that fails each time is asked as often as is set, and its words are told."""

    async def use(desk: Desk, _: Place) -> None:
        standing = (await desk.answer(chat("hello", "sandbox/500"), OPTIONS)).standing
        assert (standing.state, standing.status_code) == (RequestState.FAILED, 500)
        assert standing.cost_nanos == 0

    here = at_desk(use, database_url, tmp_path, BATCHMILL_MAX_TRIES="3")
    assert len(here.calls()) == 3
    here.books()


def test_a_fallback_answers_in_its_place(database_url: str, tmp_path: Path) -> None:
    """Who names others to ask gets the answer of one of them, and is told so."""
    wants = Wants(fallback=(Target(provider="openai", model="gpt-4o"),))

    async def use(desk: Desk, _: Place) -> None:
        options = replace(OPTIONS, routing=dump_wants(wants))
        answered = await desk.answer(chat("hello", "sandbox/500"), options)
        assert (answered.selection, answered.standing.model) == ("fallback", "gpt-4o")

    at_desk(use, database_url, tmp_path).books()


def test_a_blocked_account_is_told_at_once(database_url: str, tmp_path: Path) -> None:
    """Nobody is made to wait until its owner has paid: the request fails, and its batch has ended."""

    async def use(desk: Desk, _: Place) -> None:
        async with asyncio.timeout(30):
            standing = (await desk.answer(chat("hello", "sandbox/quota"), OPTIONS)).standing
        assert (standing.state, standing.status_code) == (RequestState.FAILED, 429)

    here = at_desk(use, database_url, tmp_path)
    assert here.states()["batches"] == {"completed": 1}
    here.books()


def test_who_cannot_be_reached_is_not_waited_for_long(database_url: str, tmp_path: Path) -> None:
    """A provider that is not there is tried as often as is set; then the caller is told."""

    async def use(desk: Desk, _: Place) -> None:
        standing = (await desk.answer(chat("hello"), OPTIONS)).standing
        assert (standing.state, standing.error_code) == (RequestState.FAILED, "connect_failed")

    nowhere = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "BATCHMILL_MAX_TRIES": "2"}
    here = at_desk(use, database_url, tmp_path, **nowhere)
    assert here.states()["attempts"] == {"settled": 2}


def test_a_caller_s_time_is_bounded(database_url: str, tmp_path: Path) -> None:
    """Whoever is not answered in time is told so; the call is unknown, and charged at its hold."""

    async def use(desk: Desk, here: Place) -> None:
        here.add_budget(10**12)
        with pytest.raises(OutOfTimeError):
            await desk.answer(chat("hello", max_tokens=10), OPTIONS)

    never = Behaviour(latency_s=(60.0, 60.0))
    here = at_desk(use, database_url, tmp_path, never, BATCHMILL_CALL_TIMEOUT_S="2")
    assert here.states()["requests"] == {"expired": 1}
    assert here.states()["attempts"]["unknown"] >= 1
    (period,) = here.budgets()
    assert period.unknown_nanos == period.spent_nanos > 0
    here.books()


def test_more_than_can_wait_are_sent_away(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is called for and one waits; a third is told to come back, and costs nothing."""
    monkeypatch.setattr(desk_module, "MOST_WAITING", 1)

    async def use(desk: Desk, _: Place) -> None:
        both = [asyncio.create_task(desk.answer(chat(f"question {n}"), OPTIONS)) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await desk.answer(chat("one more"), OPTIONS)
        await asyncio.gather(*both)

    here = at_desk(use, database_url, tmp_path, SLOW, BATCHMILL_CONCURRENCY="1")
    assert len(here.calls()) == 2


def test_calls_at_a_time_are_bounded(database_url: str, tmp_path: Path) -> None:
    """Whatever is asked at once, no more calls are out than there are slots."""

    async def use(desk: Desk, here: Place) -> None:
        asked = asyncio.gather(*(desk.answer(chat(f"question {n}"), OPTIONS) for n in range(9)))
        most = 0
        while not asked.done():
            most = max(most, here.states()["attempts"].get("sent", 0))
            await asyncio.sleep(0.01)
        assert 0 < most <= 3

    at_desk(use, database_url, tmp_path, Behaviour(latency_s=(0.1, 0.1)), BATCHMILL_CONCURRENCY="3")


def test_calls_in_flight_finish_before_the_desk_closes(database_url: str, tmp_path: Path) -> None:
    """Told to stop, it takes nothing on, and what is out is answered."""

    async def use(desk: Desk, here: Place) -> None:
        asking = asyncio.create_task(desk.answer(chat("hello"), OPTIONS))
        await until(lambda: bool(here.calls()))
        desk.wind_up()
        with pytest.raises(BusyError):
            await desk.answer(chat("too late"), OPTIONS)
        assert (await asking).standing.state is RequestState.DONE

    here = at_desk(use, database_url, tmp_path, SLOW)
    assert here.states()["attempts"] == {"settled": 1}


def test_what_outlasts_the_grace_is_unknown(database_url: str, tmp_path: Path) -> None:
    """A call that does not end is cut off, and its row says that it may have been billed; nothing stays claimed."""

    async def use(desk: Desk, here: Place) -> None:
        desk.begin(chat("hello", HANGS), OPTIONS)
        await until(lambda: bool(here.calls()))

    here = at_desk(use, database_url, tmp_path, BATCHMILL_GRACE_S="0.2")
    assert here.states() == {
        "batches": {"cancelled": 1},
        "requests": {"cancelled": 1},
        "attempts": {"unknown": 1},
    }
    assert here.leftovers() == {"claims": 0, "flights": 0, "workers": 0}
    here.books()


def test_another_worker_s_answer_is_its_callers_too(database_url: str, tmp_path: Path) -> None:
    """Who asks what a worker elsewhere is being answered waits for that, and makes no call."""

    async def use(desk: Desk, here: Place) -> None:
        line, database = chat("hello"), here.database()
        key = LineKeys(OPTIONS, upstreams_of(here.settings)).key(line)
        assert key is not None
        entry = Entry(
            public_id=new_entry_id(),
            line=line,
            options=OPTIONS,
            cache_key=key.hex(),
            upstream="",
            within_ms=60_000,
        )
        async with Journal(database, "elsewhere", lease_ms=60_000).open() as journal:
            leading = await journal.enter(entry)
            assert leading.job is not None
            asking = asyncio.create_task(desk.answer(line, OPTIONS))
            await until(lambda: here.states()["requests"].get("waiting") == 1)
            await _settle(journal, make_judge(), leading.job, ANSWERED)
            answered = await asking
        assert (answered.standing.is_cached, answered.standing.body) == (True, ANSWERED.body)
        database.close()

    assert at_desk(use, database_url, tmp_path).calls() == []


def test_who_may_not_share_is_called_for_each_time(database_url: str, tmp_path: Path) -> None:
    """With the cache off the same question is asked again."""

    async def use(desk: Desk, _: Place) -> None:
        for _ in range(2):
            await desk.answer(chat("hello"), replace(OPTIONS, cache=CacheMode.OFF))

    assert len(at_desk(use, database_url, tmp_path).calls()) == 2


def test_a_killed_desk_s_calls_are_unknown_and_not_made_again(database_url: str, tmp_path: Path) -> None:
    """After kill -9 whoever looks after its home finds what was out: it may be billed, and nobody waits for it."""

    async def run() -> Place:
        async with place(database_url, tmp_path) as here:
            process = subprocess.Popen(  # noqa: ASYNC220 - nothing else is going on here
                [sys.executable, "-c", KILLED],
                env={**os.environ, **here.settings.to_environ()},
                cwd=Path(__file__).parents[2],
            )
            try:
                await until(lambda: bool(here.calls()))
            finally:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            database = here.database()
            unknown = bury_the_dead(database, here.settings, judge_of(here.settings))
            database.close()
            assert unknown == 1
            return here

    here = asyncio.run(run())
    assert here.states() == {
        "batches": {"completed": 1},
        "requests": {"failed": 1},
        "attempts": {"unknown": 1},
    }
    assert len(here.calls()) == 1
    here.books()


KILLED = f"""
import asyncio
from batchmill.settings import load_settings
from tests.support.direct import OPTIONS, chat
from workers.serving.desk import Desk

async def main():
    async with Desk(load_settings(dotenv=None)).open() as desk:
        await desk.answer(chat("hello", {HANGS!r}), OPTIONS)

asyncio.run(main())
"""


async def _settle(journal: Journal, judge: Judge, job: Any, reply: Reply) -> None:
    attempt = await journal.send(send_of(job))
    await journal.settle(judge.judge(attempt, reply))  # type: ignore[arg-type]


# In pieces


def test_pieces_come_as_the_provider_sends_them(database_url: str, tmp_path: Path) -> None:
    """Heard piece by piece, the answer is in the books as any: priced by its usage, and kept for who asks it whole."""

    async def use(desk: Desk, _: Place) -> None:
        relay = Relay()
        visit = desk.begin(chat("hello"), OPTIONS, relay)
        assert await visit.begun()
        pieces = [event async for event in relay.events()]
        standing = (await visit.answered()).standing
        assert len(pieces) > 3
        assert not any(b'"usage":{' in event for event in pieces)
        assert (standing.cost_nanos or 0) > 0
        again = (await desk.answer(chat("hello"), OPTIONS)).standing
        assert (again.is_cached, again.body) == (True, standing.body)

    here = at_desk(use, database_url, tmp_path)
    assert len(here.calls()) == 1
    assert here.costs() == [here.calls()[0]["cost_nanos"]]
    here.books()


def test_a_listener_who_leaves_early_pays_for_the_whole(database_url: str, tmp_path: Path) -> None:
    """The call is read to its end without him, settled at its true cost, and its answer kept."""

    async def use(desk: Desk, here: Place) -> None:
        relay = Relay()
        visit = desk.begin(chat("hello", "sandbox/drip"), OPTIONS, relay)
        assert await visit.begun()
        visit.leave()
        await until(lambda: bool(here.costs()))
        assert (await desk.answer(chat("hello", "sandbox/drip"), OPTIONS)).standing.is_cached

    here = at_desk(use, database_url, tmp_path, Behaviour(drip_s=0.5))
    assert here.states()["attempts"] == {"settled": 1}
    assert len(here.calls()) == 1
    here.books()


@pytest.mark.parametrize("model", ["sandbox/truncated", "sandbox/malformed"])
def test_a_stream_that_breaks_off_is_unknown_and_not_begun_anew(
    database_url: str, tmp_path: Path, model: str
) -> None:
    """Its listener has had a part, which no other answer continues: it fails, charged at its hold."""

    async def use(desk: Desk, here: Place) -> None:
        here.add_budget(10**12, allows_unpriced=True)
        relay = Relay()
        visit = desk.begin(chat("hello", model, max_tokens=40), OPTIONS, relay)
        assert await visit.begun()
        standing = (await visit.answered()).standing
        assert (standing.state, standing.cost_nanos) == (RequestState.FAILED, None)

    here = at_desk(use, database_url, tmp_path)
    assert len(here.calls()) == 1
    assert here.states()["attempts"] == {"unknown": 1}
    here.books()


def test_before_the_first_piece_it_may_be_tried_again(database_url: str, tmp_path: Path) -> None:
    """While nothing has been heard, a fault leads to the next model as ever, whose pieces are heard."""
    wants = Wants(fallback=(Target(provider="openai", model="gpt-4o"),))

    async def use(desk: Desk, _: Place) -> None:
        relay = Relay()
        options = replace(OPTIONS, routing=dump_wants(wants))
        visit = desk.begin(chat("hello", "sandbox/500"), options, relay)
        assert await visit.begun()
        assert visit.target == Target(provider="openai", model="gpt-4o")
        assert (await visit.answered()).standing.state is RequestState.DONE

    at_desk(use, database_url, tmp_path).books()


def test_a_hit_has_no_pieces(database_url: str, tmp_path: Path) -> None:
    """Nothing is heard of it: it is there whole."""

    async def use(desk: Desk, _: Place) -> None:
        await desk.answer(chat("hello"), OPTIONS)
        visit = desk.begin(chat("hello"), OPTIONS, Relay())
        assert not await visit.begun()
        assert (await visit.answered()).standing.is_cached

    assert len(at_desk(use, database_url, tmp_path).calls()) == 1
