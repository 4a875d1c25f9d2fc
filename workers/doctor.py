"""The doctor: looks at a whole installation and says what is well and what is not. It mends nothing."""

from collections.abc import Iterator
from pathlib import Path

from batchmill.errors import BatchmillError
from batchmill.findings import Finding
from batchmill.settings import Settings
from db.audit import audit
from workers import surroundings
from workers.assembly import existing_database
from workers.witness import compare


def examine(settings: Settings, witness: Path | None = None) -> Iterator[Finding]:
    """Every finding, as it is made: first the surroundings, then each promise.

    Args:
        witness: A sandbox's call log, to be held against the books.

    Raises:
        BatchmillError: The witness cannot be read, or the database went away meanwhile.
    """
    yield from surroundings.on_this_machine(settings)
    try:
        database = existing_database(settings)
    except BatchmillError as error:
        yield surroundings.not_found(error)
        return
    try:
        yield surroundings.found(settings)
        yield from surroundings.at_work(settings, database)
        yield from audit(database)
        if witness is not None:
            yield from compare(database, witness)
    finally:
        database.close()
