"""Holds: no call without room for the most it can cost, in every budget that covers it.

A transaction of the writer comes here last, with all that has ended in it and all that is to be sent. The periods
concerned are locked in the order of their ids, what has ended is charged first, then each send is held on all its
periods or on none. A hold remembers its periods (`attempts.held_on`), so that it is settled where it was taken, also
after midnight.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import select, update

from batchmill.budgets import words
from batchmill.budgets.balance import Balance, Charge, Movement, Room
from batchmill.budgets.model import OF_SOME_LINES, Budget, OnLimit, Scope, keys_of
from batchmill.requests.work import Bounded, Candidate, Job, Send, Why, Withheld
from db.budgets import factors, firing, periods
from db.budgets.rows import IS_ITS_NOW, MOVING, balance_of, budget_of
from db.bulk import INT, bulk_update
from db.engine import Transaction
from db.prepared import Prepared, among
from db.tables import budget_periods, budgets

_covering = Prepared(
    select(budgets.c.key, budgets.c.id, budget_periods.c.id.label("period_id"))
    .join_from(budgets, budget_periods, IS_ITS_NOW, isouter=True)
    .where(among(budgets.c.key, "keys"), budgets.c.removed_ms.is_(None))
    .order_by(budgets.c.id)
)
_lock = Prepared(
    select(
        budget_periods,
        *(column.label(f"budget_{column.name}") for column in budgets.c if column.name != "id"),
    )
    .join_from(budget_periods, budgets, budgets.c.id == budget_periods.c.budget_id)
    .where(among(budget_periods.c.id, "ids"))
    .order_by(budget_periods.c.id)
    .with_for_update(of=budget_periods)
)
_write = bulk_update(
    dict.fromkeys(("id", "spent_before", "held_before", "alerted_percent", *MOVING), INT),
    lambda row: (
        update(budget_periods)
        .where(
            budget_periods.c.id == row["id"],
            budget_periods.c.spent_nanos == row["spent_before"],
            budget_periods.c.held_nanos == row["held_before"],
        )
        .values({name: row[name] for name in ("alerted_percent", *MOVING)})
    ),
)


@dataclass(frozen=True, slots=True)
class Held:
    """A call that may be made.

    Attributes:
        nanos: What is held for it; also where no budget covers it, if that is known.
        periods: The rows on which that is held.
    """

    candidate: Candidate
    nanos: int | None
    periods: tuple[int, ...]


@lru_cache(maxsize=4_096)
def held_on(periods: tuple[int, ...]) -> str:
    """Periods as an attempt has them: `,3,7,`; "" for none."""
    return f",{','.join(map(str, periods))}," if periods else ""


@lru_cache(maxsize=4_096)
def periods_of(text: str) -> tuple[int, ...]:
    """The periods that an attempt is held on."""
    return tuple(map(int, text.strip(",").split(","))) if text else ()


@dataclass(slots=True, kw_only=True)
class Account:
    """One period of a budget, as this transaction has it: how it was, and how it is by now.

    Attributes:
        is_exhausted: A call has not found room in it, for what has been spent.
        overran: Models of which calls were dearer than their hold.
    """

    row: Any
    budget: Budget
    balance: Balance
    is_exhausted: bool = False
    overran: set[str] = field(default_factory=set)

    @property
    def has_changed(self) -> bool:
        """Whether there is anything to be written."""
        before = (self.row.spent_nanos, self.row.held_nanos, self.row.unknown_nanos)
        now = (self.balance.spent_nanos, self.balance.held_nanos, self.balance.unknown_nanos)
        return before != now or self.is_exhausted


class Till:
    """The budgets of one transaction: charges what has ended, holds what is to be sent, writes it down.

    The rows it needs are locked when it is made. After that only attempts, alerts and factors are written, and what
    this transaction has locked before.
    """

    def __init__(self, tx: Transaction, charges: Sequence[Charge], sends: Sequence[Send]) -> None:
        self._tx = tx
        self._charges = charges
        self._in_force = _in_force(tx, sends)
        wanted = {period for covering in self._in_force.values() for period in covering}
        wanted |= {period for charge in charges for period in charge.periods}
        self._accounts = _locked(tx, wanted)
        self._covering_keys: dict[tuple[str, ...], list[Account]] = {}
        self._charge()

    def admit(self, send: Send) -> Held | Withheld:
        """Hold a call on every budget that covers it, or say why not.

        Where a budget wants a cheaper model, the dearest of those that fit is held instead; one that may fit soon is
        waited for rather than passed by.
        """
        asked = self._covering(send.job, send.asked)
        withheld = self._why_not(send.job, send.asked, asked)
        if not self._wants_cheaper(send.job, asked, withheld):
            return withheld or self._hold(send.asked, asked)
        if send.cheaper is None:
            return Withheld(why=Why.CHEAPER)
        too_dear: list[Withheld] = []
        for candidate in send.cheaper:
            covering = self._covering(send.job, candidate)
            why_not = self._why_not(send.job, candidate, covering)
            if why_not is None:
                return self._hold(candidate, covering)
            if why_not.why is Why.TIGHT:
                return why_not
            too_dear.append(why_not)
        return _least(withheld, too_dear) if withheld else self._hold(send.asked, asked)

    def let_go(self, held: Held) -> None:
        """Undo a hold: its call turned out to have been recorded, and held, before."""
        for period in held.periods:
            self._accounts[period].balance.hold(-(held.nanos or 0))

    def write(self) -> None:
        """Write every balance that has changed, and what its owner is to be told."""
        changed = [account for account in self._accounts.values() if account.has_changed]
        table = [_written(account, self._fire(account)) for account in changed]
        if table and self._tx.bulk(_write, table) != len(table):
            raise RuntimeError("a budget changed under its lock; nothing was written")
        overran = [charge for charge in self._charges if charge.overrun_nanos]
        if overran:
            factors.rise(self._tx, overran)

    def _charge(self) -> None:
        """Charge what has ended, at once what is held on the same periods: most calls of a commit are."""
        together: dict[tuple[int, ...], list[Charge]] = {}
        for charge in self._charges:
            together.setdefault(charge.periods, []).append(charge)
        for held_on, charges in together.items():
            movement = Movement.of(charges)
            overran = (
                {charge.name for charge in charges if charge.overrun_nanos} if movement.overrun else set()
            )
            for period in held_on:
                account = self._accounts.get(period)
                if account is not None:  # a row that somebody has deleted is the audit's to tell
                    account.balance.move(movement)
                    account.overran |= overran

    def _fire(self, account: Account) -> int:
        for model in sorted(account.overran):
            firing.fire_overrun(self._tx, account.row, account.budget, account.balance, model)
        return firing.fire_thresholds(
            self._tx, account.row, account.budget, account.balance, is_exhausted=account.is_exhausted
        )

    def _covering(self, job: Job, candidate: Candidate) -> list[Account]:
        if not self._in_force:
            return []
        keys = _keys_for(job, candidate)
        covering = self._covering_keys.get(keys)
        if covering is None:
            found = {period for key in keys for period in self._in_force.get(key, ())}
            covering = self._covering_keys[keys] = [self._accounts[period] for period in sorted(found)]
        return covering

    def _why_not(self, job: Job, candidate: Candidate, covering: Sequence[Account]) -> Withheld | None:
        if not covering:
            return None
        if candidate.bounded is Bounded.NOT:
            return Withheld(why=Why.UNBOUNDED)
        if candidate.hold_nanos is None:
            strict = [account for account in covering if not account.budget.allows_unpriced]
            return _unpriced(job, candidate, strict[0]) if strict else None
        rooms = [account.balance.room(candidate.hold_nanos) for account in covering]
        if rooms.count(Room.FITS) == len(rooms):
            return None
        if candidate.bounded is Bounded.ROUGHLY:
            return Withheld(why=Why.ROUGH)
        full = [account for account, room in zip(covering, rooms, strict=True) if room is Room.NEVER]
        if full:
            for account in full:
                account.is_exhausted |= account.balance.is_used_up_for(candidate.hold_nanos)
            return _exhausted(job, candidate, min(full, key=lambda account: _rank(job, account)))
        return Withheld(why=Why.TIGHT)

    def _wants_cheaper(self, job: Job, covering: Sequence[Account], withheld: Withheld | None) -> bool:
        if withheld is not None and withheld.why is not Why.TIGHT:
            return withheld.why is Why.EXHAUSTED and withheld.then is OnLimit.DOWNGRADE
        return any(
            _then(job, account) is OnLimit.DOWNGRADE
            and account.balance.has_used(account.budget.downgrade_percent)
            for account in covering
        )

    def _hold(self, candidate: Candidate, covering: Sequence[Account]) -> Held:
        nanos = candidate.hold_nanos
        if covering and nanos is None:
            nanos = 0  # its price is not known, and that is allowed
        for account in covering:
            account.balance.hold(nanos or 0)
        return Held(candidate, nanos, tuple([account.row.id for account in covering]))


_WEIGHT = {OnLimit.REJECT: 0, OnLimit.PAUSE: 1, OnLimit.DOWNGRADE: 2}


def _then(job: Job, account: Account) -> OnLimit:
    return job.batch.on_budget or account.budget.on_limit


def _rank(job: Job, account: Account) -> tuple[int, bool]:
    """Of several full budgets the one decides that leaves the least choice; a model's own only where no other is full,
    for that one does not cover what is asked instead."""
    return _WEIGHT[_then(job, account)], account.budget.scope is Scope.MODEL


def _least(withheld: Withheld, cheaper: Sequence[Withheld]) -> Withheld:
    """What has to fit before any of these calls does: the least that one of them needs of the same budget."""
    same = [one for one in cheaper if one.needs_nanos is not None and one.budget_id == withheld.budget_id]
    return min([withheld, *same], key=lambda one: one.needs_nanos or 0)


def _unpriced(job: Job, candidate: Candidate, account: Account) -> Withheld:
    return Withheld(
        why=Why.UNPRICED,
        budget_id=account.budget.id,
        then=_then(job, account),
        is_of_some_lines=account.budget.scope in OF_SOME_LINES,
        reason=words.unpriced(account.budget, f"{candidate.provider}/{candidate.model}"),
    )


def _exhausted(job: Job, candidate: Candidate, account: Account) -> Withheld:
    nanos = candidate.hold_nanos or 0
    return Withheld(
        why=Why.EXHAUSTED,
        budget_id=account.budget.id,
        needs_nanos=nanos,
        then=_then(job, account),
        is_of_some_lines=account.budget.scope in OF_SOME_LINES,
        is_in_use=account.balance.held_nanos > 0,
        reason=words.exhausted(account.budget, account.balance, nanos, end_ms=account.row.end_ms),
    )


def _in_force(tx: Transaction, sends: Sequence[Send]) -> dict[str, list[int]]:
    """By key: the current periods of the budgets that could cover one of these sends."""
    together = {
        _keys_for(send.job, candidate) for send in sends for candidate in (send.asked, *(send.cheaper or ()))
    }
    if not together:
        return {}
    keys = {key for keys in together for key in keys}
    found = tx.rows(_covering, keys=sorted(keys), now_ms=tx.now_ms)
    if any(row.period_id is None for row in found):
        periods.begin(tx, [row.id for row in found if row.period_id is None])
        found = tx.rows(_covering, keys=sorted(keys), now_ms=tx.now_ms)
    in_force: dict[str, list[int]] = {}
    for row in found:
        in_force.setdefault(row.key, []).append(row.period_id)
    return in_force


def _locked(tx: Transaction, ids: Iterable[int]) -> dict[int, Account]:
    wanted = sorted(ids)
    if not wanted:
        return {}
    return {row.id: _account(row) for row in tx.rows(_lock, ids=wanted)}


def _account(row: Any) -> Account:
    return Account(row=row, budget=budget_of(row, prefix="budget_"), balance=balance_of(row))


def _written(account: Account, alerted_percent: int) -> dict[str, int]:
    return {
        "id": account.row.id,
        "spent_before": account.row.spent_nanos,
        "held_before": account.row.held_nanos,
        "alerted_percent": alerted_percent,
        **{name: getattr(account.balance, name) for name in MOVING},
    }


@lru_cache(maxsize=4_096)
def _keys(
    tenant: str, user: str, provider: str, model: str, request_type: str, batch: str
) -> tuple[str, ...]:
    return keys_of(
        tenant=tenant, user=user, provider=provider, model=model, request_type=request_type, batch=batch
    )


def _keys_for(job: Job, candidate: Candidate) -> tuple[str, ...]:
    batch = job.batch
    return _keys(
        batch.tenant, batch.user, candidate.provider, candidate.model, job.request_type, batch.public_id
    )
