"""A page: the ledger entries and counter changes that one transaction collects and writes at its end."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchmill.budgets.balance import Charge
from batchmill.requests.model import BatchState, RequestState
from batchmill.requests.work import Job
from db import batches, cache, followers, ledger
from db.cache import Hit
from db.engine import Transaction


@dataclass(slots=True)
class Page:
    """The ledger entries and counter changes that one transaction collects.

    Attributes:
        uses: How often each entry of the cache has answered.
        found: By key, the answers that were found in the cache.
        charges: What calls came to that were held on budgets; the budgets are written after all else.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    uses: Counter[str] = field(default_factory=Counter)
    found: dict[str, int] = field(default_factory=dict)
    changes: dict[int, dict[str, Any]] = field(default_factory=dict)
    charges: list[Charge] = field(default_factory=list)

    def add(self, batch: int, **amounts: Any) -> None:
        """Change counters of a batch; of two reasons the later one counts, but none wipes out one."""
        changed = self.changes.setdefault(batch, defaultdict(int))
        for name, amount in amounts.items():
            if isinstance(amount, str):
                changed[name] = amount or changed.get(name, "")
            else:
                changed[name] += amount

    def answer_waiting(
        self, tx: Transaction, keys: Sequence[str], hits: Mapping[str, Hit], *, kept_under: str = ""
    ) -> None:
        """Answer all who wait for these keys; their entries are made by the database.

        Args:
            kept_under: Where the answers were found, if not under these keys.
        """
        table = [
            {
                "cache_key": key,
                "state": state_of(hits[key]),
                "answer_id": hits[key].answer_id,
                "provider": hits[key].provider,
                "model": hits[key].model,
            }
            for key in sorted(keys)
        ]
        for row in followers.answer(tx, table):
            self.add(row.batch_id, cached=row.times, **{row.state: row.times})
            self.uses[kept_under or row.cache_key] += row.times

    def enter_hit(self, tx: Transaction, job: Job, hit: Hit, *, key: str = "") -> None:
        """Enter a request that the cache answered.

        Args:
            key: Where that was found, if not under its own.
        """
        self.found[key or _own_key(job)] = hit.answer_id
        self.entries.append(ledger.of_hit(tx, job, provider=hit.provider, model=hit.model, ok=hit.ok))
        self.add(job.batch.id, cached=1, **{state_of(hit).value: 1})

    def write(self, tx: Transaction) -> dict[int, BatchState]:
        """Write it, batches last; their states."""
        ledger.append(tx, self.entries)
        cache.used(tx, self.uses, self.found)
        return batches.count(tx, self.changes)


def _own_key(job: Job) -> str:
    assert job.cache_key is not None
    return job.cache_key


def state_of(hit: Hit) -> RequestState:
    """What becomes of a request that is answered so."""
    return RequestState.DONE if hit.ok else RequestState.FAILED
