"""Workers: which process, on which machine, under which home, goes by which UUID."""

import os
import socket
import uuid

from sqlalchemy import delete, func, insert, select

from db.engine import Transaction
from db.tables import claims, workers

DESK = "desk-"
"""How the names of those begin who answer single requests, and take nothing of a batch."""


def new_id(kind: str = "") -> str:
    """A fresh UUID: a name used again would hide that its earlier bearer died.

    Args:
        kind: What it begins with.
    """
    return f"{kind}{uuid.uuid4()}"


def register(tx: Transaction, worker_id: str, home: str) -> None:
    """Enter this process under its name; its sign of life has to be there already, or it is taken for dead."""
    tx.run(
        insert(workers).values(
            id=worker_id, host=socket.gethostname(), pid=os.getpid(), home=home, started_ms=tx.now_ms
        )
    )


def leave(tx: Transaction, worker_id: str) -> None:
    """Strike a worker that holds nothing any more off the list."""
    tx.run(delete(workers).where(workers.c.id == worker_id))


def of_home(tx: Transaction, home: str) -> list[str]:
    """The workers of that home on this machine."""
    here = select(workers.c.id).where(workers.c.host == socket.gethostname(), workers.c.home == home)
    return [row.id for row in tx.rows(here)]


def count(tx: Transaction, *, desks_too: bool = True) -> int:
    """How many workers are on the list, of whatever home.

    Args:
        desks_too: Whether to count those who take nothing of a batch.
    """
    counted = select(func.count()).select_from(workers)
    if not desks_too:
        counted = counted.where(workers.c.id.not_like(f"{DESK}%"))
    return int(tx.rows(counted)[0][0])


def claims_of(tx: Transaction, worker_ids: list[str]) -> list[int]:
    """The claims that these workers hold."""
    if not worker_ids:
        return []
    return [row.id for row in tx.rows(select(claims.c.id).where(claims.c.worker_id.in_(worker_ids)))]
