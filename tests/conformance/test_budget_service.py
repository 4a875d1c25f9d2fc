"""Budgets as people define them: by name, by variable, with who waited for them going on."""

import pytest
from sqlalchemy import select

from batchmill.budgets.edits import Changes
from batchmill.budgets.model import OnLimit, Origin, Period, Scope
from batchmill.errors import InvalidLinesError, MisuseError, NotFoundError, UnpricedError
from batchmill.requests.model import BatchOptions, BatchState, Endpoint, LineError, RequestLine
from batchmill.requests.work import HandBack
from batchmill.settings import Settings, load_settings
from db.budgets import definitions
from db.engine import Database
from db.settle import Work
from db.tables import inputs
from tests.support.audit import audit
from tests.support.budgets import all_budgets, set_budgets_of, spend, standing_of
from tests.support.hands import Worker, add_batch, all_batches, batch_of
from tests.support.replies import PRICE_NANOS
from workers.budgets import define_environment_budgets, remove_budgets, reset_budgets, set_budgets
from workers.submission import submit

NOTHING = Changes()


def with_environment(settings: Settings, **variables: str) -> Settings:
    """The same settings with these variables."""
    return load_settings({**settings.to_environ(), **variables}, None)


def test_variables_set_budgets_beside_those_of_commands(database: Database, settings: Settings) -> None:
    """Both hold; the variable's follows its variable, is written only where it differs, and is never removed."""
    set_budgets_of(database, {Period.DAY: 500}, Scope.GLOBAL, "")
    first = with_environment(settings, AI_DAILY_BUDGET="0.000005", BATCHMILL_TIMEZONE="Europe/Berlin")
    define_environment_budgets(database, first)
    of_command, of_variable = all_budgets(database)
    assert (of_command.budget.origin, of_command.budget.limit_nanos) == (Origin.COMMAND, 500)
    budget = of_variable.budget
    assert (budget.origin, budget.limit_nanos, budget.zone) == (Origin.ENVIRONMENT, 5_000, "Europe/Berlin")
    with database.read() as tx:
        assert not definitions.environment_differs(tx, first.budgets.limits, first.budgets.timezone)
    set_budgets(database, first, Scope.GLOBAL, "", {}, Changes(allows_unpriced=True, on_limit=OnLimit.REJECT))
    higher = with_environment(settings, AI_DAILY_BUDGET="7", AI_WEEKLY_BUDGET="1", AI_MONTHLY_BUDGET="2.5")
    define_environment_budgets(database, higher)
    define_environment_budgets(database, settings)
    set_budgets_of(database, {Period.DAY: 500, Period.WEEK: 1}, Scope.GLOBAL, "")
    _, day, week, month, _ = (standing.budget for standing in all_budgets(database))
    assert (day.id, day.limit_nanos, day.zone) == (budget.id, 7 * 10**9, "UTC")
    assert (day.allows_unpriced, day.on_limit, week.on_limit) == (True, OnLimit.REJECT, OnLimit.PAUSE)
    assert (week.limit_nanos, month.limit_nanos) == (10**9, 2_500_000_000)
    with pytest.raises(MisuseError, match="BATCHMILL_TIMEZONE"):
        set_budgets(database, settings, Scope.GLOBAL, "", {}, Changes(zone="Europe/Berlin"))
    audit(database)


def test_a_removed_variables_budget_comes_back_with_what_was_spent(
    database: Database, settings: Settings
) -> None:
    """Removing it is no way round it while the variable is set."""
    daily = with_environment(settings, AI_DAILY_BUDGET="0.000005")
    define_environment_budgets(database, daily)
    spend(database, 2)
    remove_budgets(database, settings, Scope.GLOBAL, "", [])
    assert all_budgets(database) == []
    define_environment_budgets(database, daily)
    assert standing_of(*all_budgets(database)) == (5_000, 2 * PRICE_NANOS, 0)


def paused_batch(database: Database) -> int:
    """A batch of tenant acme that waits for its budget of 10 nanos a day."""
    set_budgets_of(database, {Period.DAY: 10})
    batch = add_batch(database, 1, tenant="acme")
    worker = Worker(database)
    (job,) = worker.take()
    withheld = worker.ask(job, hold_nanos=PRICE_NANOS).withheld[job.request_id]
    worker.write(Work(hand_backs=[HandBack(job=job, withheld=withheld)]))
    assert batch_of(database, batch).state == BatchState.PAUSED
    return batch


@pytest.mark.parametrize("what", ["raise", "remove"])
def test_who_waited_goes_on_at_once(database: Database, settings: Settings, what: str) -> None:
    """A raised limit, or a budget that is gone, lets paused batches go on without waiting for a sweep."""
    batch = paused_batch(database)
    set_budgets(database, settings, Scope.TENANT, "acme", {Period.DAY: PRICE_NANOS - 1}, NOTHING)
    reset_budgets(database, settings, Scope.TENANT, "acme", [])
    assert batch_of(database, batch).state == BatchState.PAUSED
    if what == "raise":
        set_budgets(database, settings, Scope.TENANT, "acme", {Period.DAY: PRICE_NANOS}, NOTHING)
    else:
        remove_budgets(database, settings, Scope.TENANT, "acme", [])
    assert batch_of(database, batch).state == BatchState.IN_PROGRESS


def test_a_batchs_budget_is_kept_by_its_whole_id(database: Database, settings: Settings) -> None:
    """However it was named: by its first digits, or as the latest."""
    public_id = batch_of(database, add_batch(database, 1)).public_id
    for name in ("latest", public_id[:14], public_id):
        (made,) = set_budgets(database, settings, Scope.BATCH, name, {Period.TOTAL: 5}, NOTHING)
        assert made.budget.name == public_id
    assert len(all_budgets(database)) == 1
    with pytest.raises(NotFoundError):
        set_budgets(database, settings, Scope.BATCH, "batch_000000", {Period.TOTAL: 5}, NOTHING)


def test_a_model_needs_a_price(database: Database, settings: Settings) -> None:
    """A budget of a model that nobody can price would hold nothing; it is made only where that is allowed."""
    limits = {Period.DAY: 5}
    with pytest.raises(UnpricedError, match="no price is known"):
        set_budgets(database, settings, Scope.MODEL, "gpt-4o-minni", limits, NOTHING)
    for name in ("gpt-4o-mini", "openai/gpt-4o-mini", "anthropic/claude-sonnet-4-5", "claude-sonnet-4-5"):
        set_budgets(database, settings, Scope.MODEL, name, limits, NOTHING)
    set_budgets(database, settings, Scope.MODEL, "own", limits, Changes(allows_unpriced=True))
    set_budgets(database, settings, Scope.MODEL, "own", {Period.DAY: 6}, NOTHING)
    with pytest.raises(UnpricedError, match="no price is known"):
        set_budgets(database, settings, Scope.MODEL, "own", {Period.MONTH: 9}, NOTHING)
    with pytest.raises(UnpricedError, match="no price is known"):
        set_budgets(database, settings, Scope.MODEL, "own", {}, Changes(allows_unpriced=False))
    *_, own = all_budgets(database)
    assert (own.budget.name, own.budget.limit_nanos, own.budget.allows_unpriced) == ("own", 6, True)
    assert len(all_budgets(database)) == 5


def test_unnamed_and_unknown_budgets_are_told(database: Database, settings: Settings) -> None:
    """What is to be removed or reset has to be there; who is meant has to be said."""
    set_budgets_of(database, {Period.DAY: 5})
    for change in (remove_budgets, reset_budgets):
        with pytest.raises(NotFoundError, match="no budget of tenant acme for a week"):
            change(database, settings, Scope.TENANT, "acme", [Period.WEEK])
        with pytest.raises(NotFoundError, match="no budget of tenant acme for a week"):
            change(database, settings, Scope.TENANT, "acme", [Period.DAY, Period.WEEK])
        with pytest.raises(MisuseError, match="which tenant"):
            change(database, settings, Scope.TENANT, "", [])
    assert len(all_budgets(database)) == 1


def test_an_input_without_a_price_leaves_nothing(database: Database, settings: Settings) -> None:
    """However many chunks of it were stored by then; the batch has failed, and the bad lines count first."""
    set_budgets_of(database, {Period.DAY: 10**9}, name="local")
    models = ["own" if n == 3_001 else "gpt-4o-mini" for n in range(1, 5_001)]
    read = [
        RequestLine(n, f"c{n}", Endpoint.CHAT, model, {"model": model, "n": n})
        for n, model in enumerate(models, 1)
    ]
    bad = LineError(line=5_001, code="x", message="y")
    said: list[LineError] = []
    with pytest.raises(UnpricedError, match=r"openai/own \(line 3001\)"):
        submit(database, settings, read, BatchOptions(), on_bad_line=said.append)
    (batch,) = all_batches(database)
    assert (batch.state, said) == (BatchState.FAILED, [])
    with database.read() as tx:
        assert tx.rows(select(inputs)) == []
    with pytest.raises(InvalidLinesError):
        submit(
            database,
            settings,
            [*read, bad],
            BatchOptions(),
            on_bad_line=said.append,
        )
    row = submit(database, settings, read[:3_000], BatchOptions(budget_nanos=7), on_bad_line=said.append)
    assert (row.state, row.total) == (BatchState.IN_PROGRESS, 3_000)
    own = all_budgets(database)[-1].budget
    assert (own.scope, own.name, own.limit_nanos) == (Scope.BATCH, row.public_id, 7)
