"""Many tenants, many budgets that overlap, workers that are killed at random: every budget holds."""

import random
from pathlib import Path

import pytest
from sqlalchemy import select

from batchmill.budgets.model import OnLimit
from batchmill.requests.lines import read_lines
from batchmill.requests.model import BatchOptions, BatchState, Lane
from batchmill.routing.upstreams import Upstreams
from db import batches as batch_rows
from db.tables import batches, budget_periods
from tests.chaos.conftest import BATCHES, PATIENCE_S
from tests.support.arena import HASTY, Arena, work_until
from tests.support.mill import chat_line, sandbox, write_lines
from tests.support.spending import BILLED, COST_NANOS, MODEL, PROMPT, Witness, price_file, prove_covered
from workers.intake import take_in

TENANTS = 20
USERS = ("alice", "bob", "carol")
TYPES = ("quiz", "report", "summary")
LINES = 10
MAX_TOKENS = (20, 32, 80, 200)
"""Some calls are held for what they cost, others for five times as much."""
DONE = (BatchState.COMPLETED, BatchState.PAUSED)


def set_budgets(arena: Arena, draw: random.Random, lines: int) -> int:
    """Budgets of every scope, by command, too small by half and more; how many."""
    a_line = COST_NANOS / 10**9
    wanted: list[tuple[str, ...]] = [("global", "--total", f"{lines * a_line * 0.6:.6f}")]
    wanted += [("model", MODEL, "--total", f"{lines * a_line * 0.55:.6f}")]
    wanted += [("provider", "openai", "--total", f"{lines * a_line * 0.58:.6f}")]
    for kind in TYPES:
        wanted.append(("type", kind, "--total", f"{lines * a_line * draw.uniform(0.1, 0.5):.6f}"))
    for user in USERS[:2]:
        wanted.append(("user", user, "--total", f"{lines * a_line * draw.uniform(0.1, 0.5):.6f}"))
    for nth in range(0, TENANTS, 2):
        few = f"{lines / TENANTS * a_line * draw.uniform(0.2, 0.9):.6f}"
        wanted.append(("tenant", f"tenant-{nth}", "--total", few))
        wanted.append(("user", f"tenant-{nth}/carol", "--total", few))
    for words in wanted:
        on_limit = draw.choice(["pause", "reject"])
        done = arena.mill.quickly("budget", "set", *words, "--on-limit", on_limit)
        assert done.returncode == 0, done.stderr
    return len(wanted)


def submit(arena: Arena, draw: random.Random, folder: Path, nth: int, upstream: str) -> None:
    """Hand in a batch of somebody, of some kind."""
    lines = [
        chat_line(f"c{n}", PROMPT.format(f"{nth}/{n}"), model=MODEL, max_tokens=draw.choice(MAX_TOKENS))
        for n in range(LINES)
    ]
    options = BatchOptions(
        lane=draw.choice(list(Lane)),
        tenant=f"tenant-{nth % TENANTS}",
        user=draw.choice((*USERS, "")),
        request_type=draw.choice((*TYPES, "")),
        on_budget=draw.choice([None, None, OnLimit.PAUSE, OnLimit.REJECT]),
    )
    with arena.database.write() as tx:
        batch = batch_rows.create(tx, options)
    with write_lines(folder / "in.jsonl", lines).open("rb") as stream:
        take_in(
            arena.database,
            batch,
            read_lines(stream),
            options,
            on_bad_line=pytest.fail,
            upstreams=Upstreams(addresses={"openai": upstream}, usable=frozenset({"openai"})),
        )


@pytest.mark.large
@pytest.mark.parametrize("seed", [0])
def test_every_budget_holds(arena: Arena, tmp_path: Path, seed: int, dialect: str) -> None:
    """At no moment is one overdrawn; in the end each says what its calls came to, and who waits could not be paid."""
    draw = random.Random(seed)
    with sandbox(tmp_path, "--latency", "0.05-0.3", *BILLED) as provider:
        arena.mill.environ |= HASTY | {
            "OPENAI_BASE_URL": provider.url,
            "BATCHMILL_PRICES": str(price_file(tmp_path)),
        }
        count = set_budgets(arena, draw, BATCHES * LINES)
        for nth in range(BATCHES):
            submit(arena, draw, tmp_path, nth, provider.url)
        witness = Witness(arena.database, provider)
        harm = work_until(
            arena, lambda: witness.is_quiet(*DONE), witness.look, seed=seed, harm=6, within_s=PATIENCE_S
        )
        accounts = witness.settle_accounts()
    with arena.database.snapshot() as tx:
        rows = {row.budget_id: row for row in tx.rows(select(budget_periods))}
        waiting = tx.rows(select(batches).where(batches.c.state == BatchState.PAUSED))
        ended = tx.rows(select(batches).where(batches.c.state == BatchState.COMPLETED))
    print(
        f"\n{dialect}: {BATCHES} batches of {TENANTS} tenants, {len(rows)} budgets set by {count} commands,"
        f" {harm[0]} kills, {harm[1]} FLUSHALL: {len(ended)} batches ended, {len(waiting)} wait;"
        f" {sum(row.done for row in ended)} lines answered in those, {sum(row.failed for row in ended)} rejected;"
        f" fullest {max(row.spent_nanos / row.limit_nanos for row in rows.values()):.2%}; {accounts}"
    )
    assert all(row.held_nanos == 0 for row in rows.values())
    prove_covered(arena.database)
    assert all(
        rows[batch.waits_for_budget_id].spent_nanos + batch.waits_for_nanos
        > rows[batch.waits_for_budget_id].limit_nanos
        for batch in waiting
    )
    assert waiting
    assert any(batch.failed for batch in ended)
