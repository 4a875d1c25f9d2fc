"""Naming: which batch a user means."""

import re
from typing import Any

from batchmill.errors import NotFoundError
from db import listings
from db.engine import Database

LATEST = "latest"
PREFIX = "batch_"
_NAME = re.compile(r"batch_[0-9a-f]{6,24}")
_HINT = "`batchmill list` shows them"


def batch_named(database: Database | None, name: str) -> Any:
    """The batch of that public id, or whose id alone begins so, or the `latest`; its row.

    Args:
        database: None when there is none yet.
        name: With or without `batch_`; six digits of the id at least.

    Raises:
        NotFoundError: There is none, or there are several.
    """
    if database is None:
        raise NotFoundError(f'there is no batch "{name}": there is no database yet', _HINT)
    if name == LATEST:
        return _latest(database)
    wanted = name if name.startswith(PREFIX) else PREFIX + name
    if not _NAME.fullmatch(wanted):
        raise NotFoundError(
            f'"{name}" names no batch: an id is batch_ and 24 digits from 0 to f, of which the first six may do',
            _HINT,
        )
    with database.read() as tx:
        exact = listings.named(tx, wanted)
        found = [exact] if exact is not None else list(listings.beginning(tx, wanted, most=2))
    if len(found) > 1:
        raise NotFoundError(f'"{name}" fits more than one batch', f"give more of the id; {_HINT}")
    if not found:
        raise NotFoundError(f'there is no batch "{name}"', _HINT)
    return found[0]


def _latest(database: Database) -> Any:
    with database.read() as tx:
        newest = listings.page(tx, most=1)
    if not newest:
        raise NotFoundError("there is no latest batch: there are none yet", "`batchmill submit` makes one")
    return newest[0]
