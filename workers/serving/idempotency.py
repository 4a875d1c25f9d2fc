"""Requests that may be sent twice: by the name that their sender gives them, what came of the first is told again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchmill.errors import ReusedKeyError
from db import files, idempotency, listings
from db.engine import Transaction

KEPT_FOR_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A request, and what it is known by.

    Attributes:
        key: Its name; None = it has none, and is done each time.
        fingerprint: Of what it says: the same name for something else is a mistake.
        find: The row that came of it, by its public name.
    """

    tenant: str
    key: str | None
    fingerprint: str
    find: Callable[[Transaction, str, str], Any | None]

    @classmethod
    def file(cls, tenant: str, key: str | None, fingerprint: str) -> "Named":
        """One that makes a file."""
        return cls(tenant=tenant, key=key, fingerprint=fingerprint, find=files.named)

    @classmethod
    def batch(cls, tenant: str, key: str | None, fingerprint: str) -> "Named":
        """One that makes a batch."""
        return cls(tenant=tenant, key=key, fingerprint=fingerprint, find=listings.of_tenant)

    def known(self, tx: Transaction) -> Any | None:
        """What came of it when it was sent before; None when it was not, or nothing is left of that.

        Raises:
            ReusedKeyError: It was something else then.
        """
        if self.key is None:
            return None
        found = idempotency.recall(tx, self.tenant, self.key)
        if found is None:
            return None
        if found.fingerprint != self.fingerprint:
            raise ReusedKeyError(
                "This Idempotency-Key was used for another request before",
                "give each request a key of its own",
            )
        return self.find(tx, found.resource, self.tenant)

    def note(self, tx: Transaction, row: Any) -> Any:
        """Note what comes of it; that.

        Raises:
            ReusedKeyError: It is being done by another request at this very moment.
        """
        if self.key is not None and not idempotency.note(
            tx, self.tenant, self.key, fingerprint=self.fingerprint, resource=row.public_id
        ):
            raise ReusedKeyError(
                "A request with this Idempotency-Key is being answered at this moment",
                "wait for it, or send the same once more",
            )
        return row
