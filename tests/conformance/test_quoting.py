"""Quotes of an installation: by its own calls, its cache and its budgets, on either database."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from batchmill.budgets.model import Scope
from batchmill.cache.keys import request_key
from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.errors import InputError, InvalidLinesError
from batchmill.money.nanos import NANOS_PER_USD
from batchmill.quotes.duration import Pace
from batchmill.quotes.forecast import Basis, Experience
from batchmill.quotes.quote import Quote, Verdict
from batchmill.requests.model import BatchOptions, CacheMode, Endpoint, LineError
from batchmill.requests.source import InputFile
from batchmill.routing.names import Target
from batchmill.settings import Settings, load_settings
from db import catalogue
from db.engine import Database
from db.experience import experiences
from db.tables import budget_periods, budgets, circuits, hold_factors, ledger
from tests.conformance.test_usage import entry, write
from tests.support.budgets import add_budget
from tests.support.hands import Worker, add_batch
from tests.support.mill import chat_line, write_lines
from tests.support.replies import ANSWERED
from workers.budgets import define_environment_budgets
from workers.quoting import Quoter

UPSTREAM = "https://api.openai.com/v1"
OPTIONS = BatchOptions()
PACE = Pace(concurrency=10)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Nothing set but the home and a key."""
    return load_settings({"BATCHMILL_HOME": str(tmp_path / "home"), "OPENAI_API_KEY": "sk-test"}, {})


def quoted(
    database: Database | None,
    settings: Settings,
    path: Path,
    *lines: str,
    options: BatchOptions = OPTIONS,
    **how: Any,
) -> Quote:
    """The quote of a file of these lines."""
    source = InputFile(write_lines(path / "in.jsonl", list(lines)))
    how = {"pace": PACE, "on_bad_line": lambda _: None} | how
    return Quoter.of(settings, database).batch(source, options, **how)[0]


def test_newest_calls_are_experience(database: Database) -> None:
    """Answered calls only, by type and by model, rounded up; hits, failures and corrections teach nothing."""
    write(
        database,
        [
            entry(output_tokens=10, latency_ms=100, request_type="trend"),
            entry(output_tokens=21, latency_ms=300, request_type="trend"),
            entry(output_tokens=40, latency_ms=900),
            entry(output_tokens=999, success=False, latency_ms=0),
            entry(output_tokens=999, kind="hit", latency_ms=0),
            entry(output_tokens=999, kind="correction", latency_ms=0),
        ],
    )
    with database.read() as tx:
        assert experiences(tx) == {
            ("openai", "gpt-4o-mini", "trend"): Experience(calls=2, output_tokens=16, latency_ms=200),
            ("openai", "gpt-4o-mini", ""): Experience(calls=1, output_tokens=40, latency_ms=900),
            ("openai", "gpt-4o-mini", None): Experience(calls=3, output_tokens=24, latency_ms=434),
        }


def test_own_calls_foretell_the_next(database: Database, settings: Settings, tmp_path: Path) -> None:
    """The mean output and the mean time of ten calls or more, instead of the rule and the catalogue."""
    lines = [chat_line(f"{nth}", f"question {nth}", max_tokens=100) for nth in range(20)]
    before = quoted(database, settings, tmp_path, *lines)
    write(database, [entry(output_tokens=7, latency_ms=500)] * 10)
    after = quoted(database, settings, tmp_path, *lines)
    assert (before.models[0].output_basis, before.total.output_tokens) == (Basis.RULE, 1_000)
    assert (after.models[0].output_basis, after.total.output_tokens) == (Basis.HISTORY, 140)
    assert (before.duration_s, after.duration_s) == (None, 1.0)
    assert before.total.most_nanos == after.total.most_nanos


def test_what_the_cache_answers_is_no_call(database: Database, settings: Settings, tmp_path: Path) -> None:
    """Looked up as a run would: by tenant, by upstream, unless the batch asks anew."""
    known = chat_line("a", "known")
    key = request_key(
        tenant="local", upstream=UPSTREAM, endpoint=Endpoint.CHAT, body=json.loads(known)["body"]
    )
    worker = Worker(database)
    add_batch(database, [key.hex()])
    worker.answer(ANSWERED, *worker.take())
    lines = (known, chat_line("b", "new"), chat_line("c", "new"))
    assert _hits(quoted(database, settings, tmp_path, *lines)) == (1, 1, 1)
    for other in (
        BatchOptions(tenant="other"),
        BatchOptions(cache=CacheMode.REFRESH),
    ):
        assert _hits(quoted(database, settings, tmp_path, *lines, options=other)) == (0, 1, 2)
    elsewhere = load_settings({"OPENAI_BASE_URL": "http://127.0.0.1:1"}, None)
    assert _hits(quoted(database, elsewhere, tmp_path, *lines)) == (0, 1, 2)


def _hits(found: Quote) -> tuple[int, int, int]:
    return found.total.hits, found.total.repeats, found.total.calls


def test_a_batch_is_held_against_what_is_left(database: Database, settings: Settings, tmp_path: Path) -> None:
    """Each budget that covers some of it has its verdict, by those lines alone and by what it has left."""
    lines = [chat_line(f"{nth}", f"question {nth}", max_tokens=1_000, model="gpt-4o") for nth in range(10)]
    lines.append(chat_line("z", "free?", model="nobody-has-it"))
    found = quoted(database, settings, tmp_path, *lines)
    assert (found.budgets, found.fits) == ([], True)
    expected, most = found.total.expected_nanos, found.total.most_nanos
    add_budget(database, most, allows_unpriced=True)
    add_budget(database, most - 1, scope=Scope.MODEL, name="gpt-4o")
    tight = add_budget(database, most, scope=Scope.TENANT, name="local", allows_unpriced=True)
    add_budget(database, 5 * NANOS_PER_USD, scope=Scope.PROVIDER, name="openai")
    add_budget(database, 1, scope=Scope.TENANT, name="other")
    with database.write() as tx:
        tx.run(
            insert(budget_periods).values(
                budget_id=tight,
                start_ms=0,
                limit_nanos=most,
                ceiling_nanos=most,
                spent_nanos=most - expected,
                held_nanos=1,
            )
        )
    found = quoted(database, settings, tmp_path, *lines)
    assert [(budget.verdict, budget.most_nanos) for budget in found.budgets] == [
        (Verdict.FITS, most),
        (Verdict.LIKELY, most),
        (Verdict.EXCEEDS, most),
        (Verdict.UNPRICED, most),
    ]
    assert not found.fits


def test_each_line_is_quoted_at_its_own_provider(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """However it is written; experience, price and budgets are those of that provider, and of nobody else."""
    write(database, [entry(provider="anthropic", model="claude-sonnet-4-5", output_tokens=7)] * 10)
    add_budget(database, NANOS_PER_USD, scope=Scope.PROVIDER, name="anthropic")
    lines = [
        chat_line("a", "hi", model="gpt-4o"),
        chat_line("b", "hi", model="openai/gpt-4o"),
        chat_line("c", "hi", model="anthropic/claude-sonnet-4-5", max_tokens=100),
    ]
    found = quoted(database, settings, tmp_path, *lines)
    assert [
        (model.provider, model.model, model.tally.lines, model.tally.repeats) for model in found.models
    ] == [
        ("openai", "gpt-4o", 2, 1),
        ("anthropic", "claude-sonnet-4-5", 1, 0),
    ]
    theirs = found.models[1]
    assert (theirs.output_basis, theirs.tally.output_tokens) == (Basis.HISTORY, 7)
    (wanted,) = found.budgets
    assert wanted.title == "the budget of provider anthropic"
    assert (wanted.expected_nanos, wanted.most_nanos) == (
        theirs.tally.expected_nanos,
        theirs.tally.most_nanos,
    )


def test_a_bare_models_budget_covers_it_everywhere(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """One with a provider's name before it covers it there alone."""
    add_budget(database, NANOS_PER_USD, scope=Scope.MODEL, name="gpt-4o", allows_unpriced=True)
    add_budget(database, NANOS_PER_USD, scope=Scope.MODEL, name="openrouter/gpt-4o", allows_unpriced=True)
    lines = [chat_line("a", "hi", model="gpt-4o"), chat_line("b", "hi", model="openrouter/gpt-4o")]
    found = quoted(database, settings, tmp_path, *lines)
    assert [budget.title for budget in found.budgets] == [
        "the budget of model gpt-4o",
        "the budget of model openrouter/gpt-4o",
    ]
    everywhere, there = found.budgets
    assert (everywhere.most_nanos, there.most_nanos) == (found.total.most_nanos, 0)


def test_a_budget_of_fallbacks_alone_expects_nothing(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """It may be used all the same, by as much as the line can cost there."""
    add_budget(database, 1, scope=Scope.PROVIDER, name="anthropic")
    add_budget(database, 1, scope=Scope.MODEL, name="anthropic/claude-opus-4-5")
    routing = {"fallback": ["anthropic/claude-sonnet-4-5", "anthropic/claude-haiku-4-5"]}
    line = json.dumps(json.loads(chat_line("a", "hi", max_tokens=100)) | {"routing": routing})
    found = quoted(database, settings, tmp_path, line)
    (wanted,) = found.budgets
    assert wanted.title == "the budget of provider anthropic"
    assert (wanted.expected_nanos, wanted.verdict) == (0, Verdict.LIKELY)
    assert 0 < wanted.most_nanos == found.total.most_nanos


def test_a_line_for_any_model_is_quoted_at_its_choice(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """By the catalogue, line by line; a model that rests now is passed over, and so may be asked at most."""
    cheap, dear = _catalogued("gpt-4o-mini", quality=0.75), _catalogued("gpt-4o", quality=0.95)
    with database.write() as tx:
        catalogue.add(tx, cheap)
        catalogue.add(tx, dear)
    lines = [
        chat_line("a", "hi", model="auto", max_tokens=10),
        chat_line("b", "Prove step by step why it is so", model="auto", max_tokens=10),
    ]
    found = quoted(database, settings, tmp_path, *lines)
    assert [(model.model, model.tally.lines) for model in found.models] == [("gpt-4o-mini", 1), ("gpt-4o", 1)]
    assert found.total.most_nanos == sum(
        quoted(database, settings, tmp_path, line.replace("auto", "gpt-4o")).total.most_nanos
        for line in lines
    )
    with database.write() as tx:
        tx.run(insert(circuits).values(_open_circuit("gpt-4o-mini", tx.now_ms + 60_000)))
    resting = quoted(database, settings, tmp_path, lines[0])
    assert [model.model for model in resting.models] == ["gpt-4o"]
    assert list(resting.total.most_nanos_by_other) == [("openai", "gpt-4o-mini")]


def _catalogued(model: str, *, quality: float) -> ModelEntry:
    return ModelEntry(provider="openai", model=model, tier=Tier.NORMAL, quality=quality)


def _open_circuit(model: str, until_ms: int) -> dict[str, Any]:
    return {
        "provider": "openai",
        "model": model,
        "state": "open",
        "failures": 0,
        "opened_times": 1,
        "open_until_ms": until_ms,
        "probe_until_ms": 0,
        "counts_from_ms": 0,
        "cause": "failing",
        "reason": "",
    }


def test_the_catalogues_fallbacks_count_at_most(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """They are asked where a line names none."""
    line = chat_line("a", "hi", max_tokens=10)
    alone = quoted(database, settings, tmp_path, line)
    fallback = (Target(provider="openai", model="gpt-4o"),)
    with database.write() as tx:
        catalogue.add(tx, replace(_catalogued("gpt-4o-mini", quality=0.75), fallback=fallback))
    found = quoted(database, settings, tmp_path, line)
    assert found.total.expected_nanos == alone.total.expected_nanos
    assert found.total.most_nanos > 10 * alone.total.most_nanos


@pytest.mark.parametrize("has_database", [True, False])
def test_lines_that_no_model_fits_are_all_told(
    database: Database, settings: Settings, tmp_path: Path, has_database: bool
) -> None:
    """Each with why, beside the other bad ones, also in an installation without a catalogue; none of them is told
    twice where a name is, too."""
    told: list[LineError] = []
    lines = [
        chat_line("a", "hi", model="auto"),
        chat_line("b", "hi"),
        chat_line("b", "ho", model="auto"),
        chat_line("b", "hi", model=""),
        chat_line("b", "ho"),
    ]
    with pytest.raises(InvalidLinesError, match="4 lines are not valid"):
        quoted(database if has_database else None, settings, tmp_path, *lines, on_bad_line=told.append)
    assert [(fault.line, fault.code) for fault in told if fault.code == "no_model_fits"] == [
        (1, "no_model_fits"),
        (3, "no_model_fits"),
    ]
    assert [fault.line for fault in told if fault.code == "duplicate_custom_id"] == [5]


def test_budgets_that_are_still_to_be_made_count(database: Database, tmp_path: Path) -> None:
    """Those of variables, with what their period has spent so far, and the batch's own: none of them is written."""
    settings = load_settings({"BATCHMILL_HOME": str(tmp_path / "home"), "AI_DAILY_BUDGET": "1"}, {})
    with database.read() as tx:
        now_ms = tx.now_ms
    write(database, [entry(now_ms, cost_nanos=999_999_999)])
    options = BatchOptions(budget_nanos=NANOS_PER_USD)
    line = chat_line("a", "hi", max_tokens=10)
    found = quoted(database, settings, tmp_path, line, options=options)
    assert [(budget.title, budget.left_nanos, budget.verdict) for budget in found.budgets] == [
        ("the global daily budget", 1, Verdict.EXCEEDS),
        ("the batch's own budget", NANOS_PER_USD, Verdict.FITS),
    ]
    alone = quoted(None, settings, tmp_path, line)
    assert [budget.left_nanos for budget in alone.budgets] == [NANOS_PER_USD]
    with database.read() as tx:
        assert tx.rows(budgets.select()) == []
    define_environment_budgets(database, settings)
    assert [budget.left_nanos for budget in quoted(database, settings, tmp_path, line).budgets] == [1]


def test_raised_bounds_are_quoted(database: Database, settings: Settings, tmp_path: Path) -> None:
    """A model that was dearer than its bound can cost more at most, and is expected to cost the same."""
    before = quoted(database, settings, tmp_path, chat_line("a", "hi", max_tokens=10)).total
    with database.write() as tx:
        tx.run(insert(hold_factors).values(provider="openai", model="gpt-4o-mini", percent=150, updated_ms=0))
    after = quoted(database, settings, tmp_path, chat_line("a", "hi", max_tokens=10)).total
    assert after.most_nanos == -(-before.most_nanos * 150 // 100)
    assert after.expected_nanos == before.expected_nanos


def test_models_are_compared(database: Database, settings: Settings, tmp_path: Path) -> None:
    """One quote for each, in the order in which they were named; twice the same is once."""
    source = InputFile(write_lines(tmp_path / "in.jsonl", [chat_line("a", "hi"), chat_line("b", "ho")]))
    found = Quoter.of(settings, database).batch(
        source, OPTIONS, pace=PACE, as_models=["gpt-4o", "gpt-6-luna", "gpt-4o"], on_bad_line=lambda _: None
    )
    assert [(quote.models[0].model, quote.total.lines) for quote in found] == [
        ("gpt-4o", 2),
        ("gpt-6-luna", 2),
    ]


def test_models_of_several_providers_are_compared(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """Lines of any provider, and lines that leave the choice to us, are quoted at each; two names of one are once."""
    lines = [
        chat_line("a", "hi", model="gemini/gemini-2.5-pro"),
        chat_line("b", "hi", model="auto"),
        chat_line("c", "ho"),
    ]
    source = InputFile(write_lines(tmp_path / "in.jsonl", lines))
    found = Quoter.of(settings, database).batch(
        source,
        OPTIONS,
        pace=PACE,
        as_models=["openai/gpt-4o", "anthropic/gpt-4o", "gpt-4o"],
        on_bad_line=lambda _: None,
    )
    assert [(quote.models[0].provider, quote.models[0].model, quote.total.lines) for quote in found] == [
        ("openai", "gpt-4o", 3),
        ("anthropic", "gpt-4o", 3),
    ]
    assert [(quote.total.repeats, quote.total.unpriced) for quote in found] == [(1, 0), (1, 3)]


def test_nothing_is_written(database: Database, settings: Settings, tmp_path: Path) -> None:
    """A quote leaves no batch, no entry and no use of the cache behind."""
    quoted(database, settings, tmp_path, chat_line("a", "hi"))
    with database.read() as tx:
        assert tx.rows(ledger.select()) == []
    assert not settings.home.exists()


@pytest.mark.parametrize(
    ("lines", "error", "codes"),
    [
        (
            ["{", chat_line("a", "hi", stream=True)],
            InvalidLinesError,
            ["invalid_json_line", "streaming_unsupported"],
        ),
        (
            [chat_line("a", "1"), chat_line("b", "2"), chat_line("a", "3")],
            InvalidLinesError,
            ["duplicate_custom_id"],
        ),
        ([" ", ""], InputError, []),
    ],
)
def test_bad_lines_are_all_told(
    database: Database,
    settings: Settings,
    tmp_path: Path,
    lines: list[str],
    error: type[Exception],
    codes: list[str],
) -> None:
    """As by a run: each with its code, and no half a quote."""
    told: list[LineError] = []
    with pytest.raises(error):
        quoted(database, settings, tmp_path, *lines, on_bad_line=told.append)
    assert [fault.code for fault in told] == codes


def test_a_search_for_repeated_names_can_be_stopped(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """It reads the input once more, and looks at each line whether to go on."""
    looks: list[int] = []
    lines = [chat_line("a", "1"), chat_line("b", "2"), chat_line("a", "3")]
    with pytest.raises(InvalidLinesError):
        quoted(database, settings, tmp_path, *lines, check=lambda: looks.append(1))
    assert len(looks) == 2 * len(lines)


def test_many_lines_are_looked_up_from_several_processes(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    """Processes are forked between look-ups: no connection is shared with them, and none is broken."""
    lines = [chat_line(f"{nth}", f"question {nth}") for nth in range(9_000)]
    alone = quoted(database, settings, tmp_path, *lines)
    assert quoted(database, settings, tmp_path, *lines, processes=2) == alone
