"""One budget, four workers that are killed at random, a broker that forgets: never above it, and used all the same.

`make chaos` does it at full size: a thousand requests of $0.0096 against $5.00, ten seeds, both databases.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.requests.model import BatchState
from tests.chaos.conftest import LINES, PATIENCE_S, SEEDS, mainly_at_home
from tests.support.arena import HASTY, Arena, work_until
from tests.support.mill import sandbox
from tests.support.spending import COST_NANOS, OUTPUT_USD_PER_MTOK, Witness, price_file, question_file

HARM = LINES // 60
"""How often somebody is killed, or all doorbells are lost."""
TEN_TIMES = 400
"""Most tokens of an answer, where 40 come."""


@pytest.fixture
def latency(request: pytest.FixtureRequest) -> str:
    """How long an answer takes, in seconds."""
    return str(getattr(request, "param", "0.05-0.15"))


@pytest.fixture
def input_usd(request: pytest.FixtureRequest) -> int:
    """What a million input tokens cost."""
    return int(getattr(request, "param", 0))


@pytest.fixture
def witness(arena: Arena, latency: str, input_usd: int, tmp_path: Path) -> Iterator[Witness]:
    """A provider, known to the arena, whose answers cost the same on both sides."""
    price = f"{input_usd}/{OUTPUT_USD_PER_MTOK}"
    with sandbox(tmp_path, "--latency", latency, "--price", price) as provider:
        arena.mill.environ |= {
            "OPENAI_BASE_URL": provider.url,
            "BATCHMILL_PRICES": str(price_file(tmp_path, input_usd)),
        }
        yield Witness(arena.database, provider)


def submit(arena: Arena, folder: Path, lines: int, **options: int) -> int:
    """Hand in so many lines, with half a cent for each, by command; the limit in nano-dollars."""
    path = question_file(folder / "in.jsonl", lines, **options)
    for command in (("budget", "set", "global", "--total", str(lines / 200)), ("submit", path)):
        done = arena.mill.quickly(*command)
        assert done.returncode == 0, done.stderr
    return lines * 5_000_000


@pytest.mark.parametrize("latency", ["0.2-0.6"], indirect=True)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_random(arena: Arena, witness: Witness, tmp_path: Path, seed: int, dialect: str) -> None:
    """At no moment is more spent and held than the limit; in the end nothing is held, 95 % is used, and the provider
    has billed no more than we say."""
    arena.mill.environ |= HASTY
    given = submit(arena, tmp_path, LINES)
    harm = work_until(
        arena,
        lambda: witness.is_quiet(BatchState.PAUSED),
        witness.look,
        seed=seed,
        harm=HARM,
        within_s=PATIENCE_S,
    )
    accounts = witness.settle_accounts()
    print(f"\n{dialect}, seed {seed}: {harm[0]} kills, {harm[1]} FLUSHALL: {accounts}")
    ((limit, spent, held),) = accounts.periods
    assert (limit, held) == (given, 0)
    assert limit * 95 // 100 <= spent <= limit
    assert spent == accounts.known_nanos + accounts.unknown_nanos
    assert accounts.bill_nanos <= spent


@mainly_at_home
def test_left_alone(arena: Arena, witness: Witness, tmp_path: Path, dialect: str) -> None:
    """Without a kill nothing is unknown, and 99 % is used."""
    submit(arena, tmp_path, LINES)
    work_until(arena, lambda: witness.is_quiet(BatchState.PAUSED), witness.look, within_s=PATIENCE_S)
    accounts = witness.settle_accounts()
    print(f"\n{dialect}, left alone: {accounts}")
    ((limit, spent, held),) = accounts.periods
    assert (held, accounts.why_unknown) == (0, [])
    assert limit * 99 // 100 <= spent <= limit
    assert spent == accounts.known_nanos == accounts.bill_nanos
    assert spent == limit // COST_NANOS * COST_NANOS


@pytest.mark.large
@pytest.mark.parametrize(("latency", "input_usd"), [("0.02-0.08", 100)], indirect=True)
def test_the_worst_case_far_above_what_comes(
    arena: Arena, witness: Witness, tmp_path: Path, dialect: str
) -> None:
    """Calls that may cost ten times what they do, by their bytes more still: the budget is used nevertheless, and never
    overdrawn."""
    # What is held for one call is then less than 5 % of the limit: so much may be left over.
    submit(arena, tmp_path, max(LINES, 500), max_tokens=TEN_TIMES)
    work_until(arena, lambda: witness.is_quiet(BatchState.PAUSED), witness.look, within_s=PATIENCE_S)
    accounts = witness.settle_accounts()
    print(f"\n{dialect}, worst case ten times what comes: {accounts}")
    ((limit, spent, held),) = accounts.periods
    assert (held, accounts.why_unknown) == (0, [])
    assert limit * 95 // 100 <= spent <= limit
    assert spent == accounts.known_nanos == accounts.bill_nanos
