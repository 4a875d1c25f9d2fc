"""Broken holds: budgets that do not hold what is about to be spent, or do not let it go."""

from tests.chaos.mutations.scenes import ALL_ARE_ANSWERED, LEFT_ALONE, MANY_BUDGETS, ON_BOTH, ON_SERVER
from tests.support.mutants import Edit, Mutant

NOTHING_HELD_TWICE = (
    'psycopg.errors.CheckViolation: new row for relation "budget_periods" violates check constraint'
    ' "ck_budget_periods_nothing_held_twice"'
)
"""The database refuses such books by itself: told here where it is the test's own sweep that would write them. Where a
worker would, that one ends, and what it left in the books tells."""

HOLDS = [
    Mutant(
        name="everything fits into a budget",
        edits=[
            Edit(
                "batchmill/budgets/balance.py",
                "if self.spent_nanos + self.held_nanos + nanos <= self.limit_nanos:",
                "if nanos <= self.limit_nanos:",
            )
        ],
        scenario=LEFT_ALONE,
        found_by=["§10.6"],
        dialects=ON_BOTH,
    ),
    Mutant(
        name="what is held does not count",
        edits=[
            Edit(
                "batchmill/budgets/balance.py",
                "if self.spent_nanos + self.held_nanos + nanos <= self.limit_nanos:",
                "if self.spent_nanos + nanos <= self.limit_nanos:",
            )
        ],
        scenario=LEFT_ALONE,
        found_by=["§10.6"],
        dialects=ON_SERVER,
    ),
    Mutant(
        name="a settlement does not let its hold go",
        edits=[
            Edit(
                "batchmill/budgets/balance.py",
                "                sums.held -= hold\n",
                "                pass\n",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.7 budgets"],
    ),
    Mutant(
        name="only the first budget holds, and all are charged",
        edits=[
            Edit(
                "db/budgets/holds.py",
                "        for account in covering:\n            account.balance.hold(nanos or 0)\n",
                "        for account in covering[:1]:\n            account.balance.hold(nanos or 0)\n",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.7 budgets", NOTHING_HELD_TWICE],
        dialects=ON_SERVER,
    ),
    Mutant(
        name="only the first budget knows of a call",
        edits=[
            Edit(
                "db/budgets/holds.py",
                "[self._accounts[period] for period in sorted(found)]",
                "[self._accounts[period] for period in sorted(found)[:1]]",
            )
        ],
        scenario=ALL_ARE_ANSWERED,
        found_by=["§10.6 its calls"],
    ),
    Mutant(
        name="budgets are neither locked nor compared before they are written",
        edits=[
            Edit("db/budgets/holds.py", "    .with_for_update(of=budget_periods)\n", ""),
            Edit(
                "db/budgets/holds.py",
                '            budget_periods.c.spent_nanos == row["spent_before"],\n'
                '            budget_periods.c.held_nanos == row["held_before"],\n',
                "",
            ),
        ],
        scenario=MANY_BUDGETS,
        found_by=["§10.7 budgets", "§10.6", NOTHING_HELD_TWICE],
        dialects=ON_SERVER,
    ),
]
