"""Spending watched from both sides: what our books say at any moment, and what the provider has billed."""

import json
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from batchmill.findings import Level
from batchmill.money.nanos import usd_text
from batchmill.requests.model import ENDED, AttemptState, BatchState
from db.engine import Database
from db.tables import attempts, batches, budget_periods, budgets, claims, ledger, requests
from tests.support.audit import audit
from tests.support.budgets import covers
from tests.support.mill import Sandbox, chat_line, write_lines
from workers.witness import compare

MODEL = "gpt-4o-2024-08-06"
"""Its tokens can be counted, and the sandbox has no price of its own for it."""
OUTPUT_TOKENS = 32
"""What the sandbox says to a prompt of that length is longer: it gives out just as many as it may."""
OUTPUT_USD_PER_MTOK = 300
COST_NANOS = 9_600_000
"""$0.0096, of each call."""
PROMPT = "a question long enough to be answered at length, number {}"
AUDIT_EVERY_S = 1.0
AUDIT_SHARE = 0.05
"""Most of the time that audits may take: of a large database they take long."""
BILLED = ("--price", f"0/{OUTPUT_USD_PER_MTOK}")
"""So that the sandbox charges the same."""

_calls = (
    select(
        batches.c.public_id,
        batches.c.tenant,
        batches.c.user_id,
        batches.c.request_type,
        attempts.c.provider,
        attempts.c.model,
        attempts.c.state,
        attempts.c.cost_nanos,
        attempts.c.hold_nanos,
    )
    .join_from(attempts, requests, requests.c.id == attempts.c.request_id)
    .join(batches, batches.c.id == requests.c.batch_id)
)


def price_file(folder: Path, input_usd_per_mtok: int = 0) -> Path:
    """What the model costs, for BATCHMILL_PRICES: its answers alone, unless something is said for questions."""
    path = folder / "prices.json"
    price = {"input_usd_per_mtok": str(input_usd_per_mtok), "output_usd_per_mtok": str(OUTPUT_USD_PER_MTOK)}
    path.write_text(json.dumps({f"openai/{MODEL}": price}))
    return path


def question_file(path: Path, count: int, *, max_tokens: int = OUTPUT_TOKENS) -> Path:
    """So many different questions to it."""
    lines = [chat_line(f"c{n}", PROMPT.format(n), model=MODEL, max_tokens=max_tokens) for n in range(count)]
    return write_lines(path, lines)


@dataclass(slots=True)
class Witness:
    """Looks from both sides; every look has to find each budget within its limit, and what has ended as it was.

    One look a second finds all else in order, too, that has to be so after every transaction.
    """

    database: Database
    provider: Sandbox
    looks: int = 0
    _ended: dict[int, Any] = field(default_factory=dict, init=False)
    _audit_at: float = field(default=float("-inf"), init=False)

    def look(self) -> int:
        """Find no budget overdrawn; how many calls the provider has seen.

        The bill is fetched first: what is billed later may be spent later.
        """
        bill = self.bill()
        with self.database.snapshot() as tx:
            periods = tx.rows(select(budget_periods))
            booked = tx.rows(
                select(func.coalesce(func.sum(attempts.c.hold_nanos), 0)).where(
                    attempts.c.hold_nanos.is_not(None)
                )
            )[0][0]
            ended = {
                row.id: (row.state, row.answer_id)
                for row in tx.rows(
                    select(requests.c.id, requests.c.state, requests.c.answer_id).where(
                        requests.c.state.in_(ENDED)
                    )
                )
            }
        assert self._ended.items() <= ended.items(), "§10.5 what had ended has changed"
        self._ended = ended
        for period in periods:
            assert period.spent_nanos + period.held_nanos <= period.limit_nanos, f"§10.6 {tuple(period)}"
            assert min(period.spent_nanos, period.held_nanos, period.unknown_nanos) >= 0, tuple(period)
        assert not periods or bill["cost_nanos"] <= booked, (
            "§10.3 the provider has billed more than was ever held"
        )
        begun = time.monotonic()
        if begun > self._audit_at:
            audit(self.database)
            ended = time.monotonic()
            self._audit_at = ended + max(AUDIT_EVERY_S, (ended - begun) / AUDIT_SHARE)
        self.looks += 1
        return bill["calls"]

    def unknown(self) -> int:
        """How many calls there are of which nobody knows whether they were billed."""
        lost = select(func.count()).where(attempts.c.state == AttemptState.UNKNOWN)
        with self.database.read() as tx:
            return int(tx.rows(lost)[0][0])

    def bill(self) -> dict[str, int]:
        """What the provider has billed so far."""
        with urllib.request.urlopen(self.provider.url.removesuffix("/v1") + "/sandbox/bill") as answer:
            said: dict[str, int] = json.load(answer)
        return said

    def is_quiet(self, *states: BatchState) -> bool:
        """Whether every batch is in one of these states and nobody works on any."""
        with self.database.snapshot() as tx:
            others = tx.rows(select(func.count()).where(batches.c.state.not_in(states)))[0][0]
            at_work = tx.rows(select(func.count()).select_from(claims))[0][0]
        return not others and not at_work

    def settle_accounts(self) -> "Accounts":
        """Hold the books against themselves and against the provider's log; all of it has to be right."""
        audit(self.database)
        wrong = [one for one in compare(self.database, self.provider.log) if one.level is not Level.OK]
        assert not wrong, wrong
        with self.database.snapshot() as tx:
            periods = tx.rows(select(budget_periods).order_by(budget_periods.c.id))
            in_flight = tx.rows(select(func.count()).where(attempts.c.state == AttemptState.SENT))[0][0]
            known = tx.rows(select(func.coalesce(func.sum(ledger.c.cost_nanos), 0)))[0][0]
            unknown = tx.rows(
                select(func.count(), func.coalesce(func.sum(attempts.c.hold_nanos), 0)).where(
                    attempts.c.state == AttemptState.UNKNOWN
                )
            )[0]
            why = tx.rows(select(attempts.c.error).where(attempts.c.state == AttemptState.UNKNOWN).distinct())
        assert in_flight == 0
        bill = self.bill()
        assert bill["cost_nanos"] == sum(call["cost_nanos"] for call in self.provider.calls())
        return Accounts(
            periods=[(row.limit_nanos, row.spent_nanos, row.held_nanos) for row in periods],
            known_nanos=int(known),
            unknown=int(unknown[0]),
            why_unknown=sorted(row.error for row in why),
            unknown_nanos=int(unknown[1]),
            bill_nanos=bill["cost_nanos"],
            calls=bill["calls"],
            looks=self.looks,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """How it ended.

    Attributes:
        periods: Of every period of every budget: limit, spent, held.
        known_nanos: What the ledger says.
        unknown: Calls of which nobody knows whether they were billed, charged at their holds.
        why_unknown: What became of those, by error code.
        bill_nanos: What the provider charged.
    """

    periods: Sequence[tuple[int, int, int]]
    known_nanos: int
    unknown: int
    why_unknown: Sequence[str]
    unknown_nanos: int
    bill_nanos: int
    calls: int
    looks: int

    def __str__(self) -> str:
        budgets = ", ".join(
            f"${usd_text(spent)} of ${usd_text(limit)} spent ({spent / limit:.2%}), ${usd_text(held)} held"
            for limit, spent, held in self.periods[:1]
        )
        return (
            f"{budgets}; ledger ${usd_text(self.known_nanos)} + {self.unknown} unknown"
            f" ${usd_text(self.unknown_nanos)}; provider's bill ${usd_text(self.bill_nanos)} for {self.calls}"
            f" calls; {self.looks} looks"
        )


def prove_covered(database: Database) -> None:
    """Find that every budget says what the calls that it covers came to, by their own facts; each has one period, begun
    before the first of them."""
    with database.snapshot() as tx:
        calls = tx.rows(_calls)
        there = tx.rows(
            select(budgets.c.scope, budgets.c.name, budget_periods.c.spent_nanos).join(
                budget_periods, budget_periods.c.budget_id == budgets.c.id, isouter=True
            )
        )
    for budget in there:
        came_to = sum(
            call.cost_nanos if call.state == AttemptState.SETTLED else call.hold_nanos
            for call in calls
            if covers(budget, call)
        )
        assert (budget.spent_nanos or 0) == came_to, f"§10.6 its calls came to {came_to} n$: {tuple(budget)}"
