"""Part `budgets`: the same lines without a budget, and with three that cover every call."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from batchmill.budgets.edits import Changes
from batchmill.budgets.model import Period, Scope
from batchmill.requests.model import BatchOptions
from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.processes import Role
from benchmarks.runs import BenchmarkError, Measured, measure
from benchmarks.stage import Home, Stage
from benchmarks.store import Store
from benchmarks.workload import MODEL
from db.budgets import definitions
from db.budgets.standings import standings

TARGETS: Mapping[str, AtLeast | AtMost] = {
    f"{store}: left of the pace with three budgets, %": AtLeast(90) for store in Store
}
BUDGETS = (
    (Scope.GLOBAL, "", Period.DAY),
    (Scope.TENANT, BatchOptions().tenant, Period.MONTH),
    (Scope.MODEL, MODEL, Period.TOTAL),
)
TURNS = (False, True, True, False, False, True)
"""Whether budgets cover the calls."""
LIMIT_NANOS = 1_000 * 10**9
"""Never reached."""


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """One round on each database, both ways in turn: a machine that gets slower meanwhile is so for both."""
    provider = stage.provider()
    path = stage.batch_file(stage.sizes.lines)
    for store in stage.sizes.stores:
        found: dict[bool, list[Measured]] = {False: [], True: []}
        for is_covered in TURNS[: 2 * stage.sizes.turns]:
            with stage.home(store, provider) as home:
                if is_covered:
                    _set(home)
                measured = measure(stage, store, home, provider, path)
                _require(home, measured, is_covered=is_covered)
                found[is_covered].append(measured)
        yield Part.BUDGETS, _samples(store, found[False], found[True])


def _set(home: Home) -> None:
    with home.database.write() as tx:
        for scope, name, period in BUDGETS:
            definitions.set_budgets(tx, scope, name, {period: LIMIT_NANOS}, Changes())


def _require(home: Home, measured: Measured, *, is_covered: bool) -> None:
    """Make sure that the budgets say what the batch has spent: who holds nothing is fast, and no measure."""
    with home.database.read() as tx:
        said = [standing.balance.spent_nanos for standing in standings(tx)]
    if said != [measured.batch.spent_nanos] * (len(BUDGETS) if is_covered else 0):
        raise BenchmarkError(f"budgets say {said}, and the batch {measured.batch.spent_nanos}")


def _samples(store: Store, without: Sequence[Measured], covered: Sequence[Measured]) -> Samples:
    pace, covered_pace = _pace(without), _pace(covered)
    return {
        f"{store}: without a budget, req/s": pace,
        f"{store}: with three budgets, req/s": covered_pace,
        f"{store}: left of the pace with three budgets, %": covered_pace / pace * 100,
        f"{store}: worker without a budget, ms CPU a request": _cpu_ms(without, Role.WORKER),
        f"{store}: worker with three budgets, ms CPU a request": _cpu_ms(covered, Role.WORKER),
        f"{store}: sandbox, ms CPU a request": _cpu_ms(covered, Role.SANDBOX),
    }


def _pace(runs: Sequence[Measured]) -> float:
    """All lines by all the time that they took."""
    return sum(run.lines for run in runs) / sum(run.lines / run.settled_per_s for run in runs)


def _cpu_ms(runs: Sequence[Measured], role: Role) -> float:
    return fmean(run.cpu_ms_a_line(role) for run in runs)
