"""The books, checked row by row: what must be true after every single transaction (design, §10)."""

from sqlalchemy import select

from batchmill.findings import Level
from db.audit import CHECKS
from db.engine import Database, Transaction
from db.tables import attempts, batches, claims, flights, ledger, requests


class Books:
    """Everything in the database at one moment."""

    def __init__(self, tx: Transaction) -> None:
        self.batches = {row.id: row for row in tx.rows(select(batches))}
        self.requests = {row.id: row for row in tx.rows(select(requests))}
        self.claims = {row.id: row for row in tx.rows(select(claims))}
        self.flights = {row.cache_key: row for row in tx.rows(select(flights))}
        self.attempts = tx.rows(select(attempts).order_by(attempts.c.request_id, attempts.c.number))
        self.ledger = tx.rows(select(ledger).order_by(ledger.c.id))


def audit(database: Database) -> Books:
    """Make every check of the product's own audit, as of one moment; the books, for more."""
    with database.snapshot() as tx:
        found = [check.find(tx) for check in CHECKS]
        books = Books(tx)
    broken = [finding for finding in found if finding.level is not Level.OK]
    assert not broken, "; ".join(f"§10.{one.invariant} {one.check}: {one}" for one in broken)
    return books
