"""The audit: what must be true of the database after every single transaction, looked for where it is not.

Every check is one reading statement as of one moment, so workers may go on meanwhile and cause no false alarm.
Memory is flat: the database finds the rows that break a promise, and a few of them come here. Time grows with
the rows: some ten seconds in all for 200,000 lines, a third of it in one statement (`ledger-entries`).
"""

from db.audit.check import EXAMPLES, Check
from db.audit.run import CHECKS, audit

__all__ = ["CHECKS", "EXAMPLES", "Check", "audit"]
