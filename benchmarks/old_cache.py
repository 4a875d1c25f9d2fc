"""A cache as it looks after weeks: entries of all ages, some used, some rated, some verified, some expired."""

from sqlalchemy import Executable, text

from batchmill.requests.ids import PLACE_BITS
from benchmarks.workload import MODEL
from db.engine import Database

AT_ONCE = 50_000
FIRST_ANSWER = 10**9
"""Far from the numbers of calls that are made meanwhile."""
OLD_BATCH = 1_000_000
"""The lines of it still point to every other answer; those of the others are gone."""
DAY_MS = 86_400_000
KEPT_MS = 30 * DAY_MS
AGE_MS = 43 * DAY_MS
"""So three tenths have expired."""

_SERIES = {
    "sqlite": "WITH RECURSIVE series(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM series WHERE n < :last) ",
    "postgresql": "WITH series AS (SELECT generate_series(CAST(:first AS bigint), :last) AS n) ",
}
_KEY = {
    "sqlite": "lower(hex(randomblob(32)))",
    "postgresql": "md5(CAST(n AS text)) || md5(CAST(-n AS text))",
}
_ID = f"{FIRST_ANSWER} + n"
_LINE = f"{OLD_BATCH << PLACE_BITS} + n"
_SIZE = "200 + n * 7919 % 1500"
_COST = "20000 + n * 104729 % 400000"
_MADE = f"CAST(:now_ms AS bigint) - {AGE_MS} + n * {AGE_MS} / :count"
_FILL = {
    "answers (id, status_code, body, provider, model, created_ms)": (
        f"{_ID}, 200, substr(CAST(:padding AS text), 1, CAST({_SIZE} AS integer)), 'openai', '{MODEL}', {_MADE}"
    ),
    "cache_entries (cache_key, answer_id, tenant, request_type, created_ms, expires_ms, answer_bytes, cost_nanos,"
    " last_used_ms, usage_count, rating, verified)": (
        f"{{key}}, {_ID}, 'local', 'reviews', {_MADE}, {_MADE} + {KEPT_MS}, {_SIZE}, {_COST},"
        f" CASE WHEN n % 5 = 0 THEN {_MADE} + {DAY_MS} END, CASE WHEN n % 5 = 0 THEN n % 7 ELSE 0 END,"
        " CASE WHEN n % 50 = 0 THEN 1 + n % 5 END, n % 100 = 0"
    ),
    "requests (id, batch_id, state, attempts, answer_id)": f"{_LINE}, {OLD_BATCH}, 'done', 1, {_ID}",
    "attempts (id, request_id, number, claim_id, worker_id, provider, model, state, reason, sent_ms, cost_nanos)": (
        f"{_ID}, {_LINE}, 1, 0, 'old', 'openai', '{MODEL}', 'settled', 'first', {_MADE}, {_COST}"
    ),
}
_OF_LINES = ("requests", "attempts")


def fill(database: Database, count: int) -> None:
    """Put so many entries in, with their answers, and with the lines that every other answer is still read by."""
    values = {"now_ms": database.now_ms(), "count": count, "padding": "x" * 2_000}
    for first in range(1, count + 1, AT_ONCE):
        with database.write() as tx:
            for table, columns in _FILL.items():
                statement = _insert(tx.dialect, table, columns)
                needed = {name: value for name, value in values.items() if f":{name}" in columns}
                tx.run(statement, first=first, last=min(count, first + AT_ONCE - 1), **needed)
    with database.write() as tx:
        if tx.dialect == "postgresql":
            tx.run(text("ANALYZE"))


def _insert(dialect: str, table: str, columns: str) -> Executable:
    which = " WHERE n % 2 = 0" if table.startswith(_OF_LINES) else ""
    select = f"{_SERIES[dialect]}SELECT {columns.format(key=_KEY[dialect])} FROM series{which}"
    # PostgreSQL wants WITH after INSERT INTO ..., and SQLite takes it there.
    return text(f"INSERT INTO {table} {select}")


def live_keys(database: Database, most: int) -> list[str]:
    """Keys of entries that answer, the youngest."""
    found = text(
        "SELECT cache_key FROM cache_entries WHERE expires_ms > :now_ms ORDER BY expires_ms DESC LIMIT :most"
    )
    with database.read() as tx:
        return [row.cache_key for row in tx.rows(found, now_ms=database.now_ms(), most=most)]
