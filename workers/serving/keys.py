"""Keys: who calls, for which tenant, and what he may.

A key is `bm-<id>-<secret>`: the id is no secret and names it in lists and logs; the secret has 256 bits. It is shown
once, when it is made. What is kept is an HMAC of the whole key, so that whoever reads the database, or writes a row
of it, has no key. See docs/decisions/0031-keys-are-kept-as-keyed-hashes.md.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from threading import Lock
from typing import Any

import structlog

from batchmill.errors import DatabaseError, NotFoundError
from db import api_keys
from db.engine import Database

BELIEVED_FOR_S = 1.0
"""How long a key is taken for what it was when it was last looked up: so soon a revoked one is refused everywhere."""
MOST_REMEMBERED = 1_000

PREFIX = "bm-"
_TOKEN = re.compile(r"bm-([0-9a-f]{12})-[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"(?:bm-)?([0-9a-f]{4,12})(?:-[A-Za-z0-9_-]{43})?")
_HINT = "`batchmill keys list --all` shows them"
log = structlog.get_logger()


class Scope(StrEnum):
    """What a key is for."""

    PRODUCER = "producer"
    ADMIN = "admin"


class KeyState(StrEnum):
    """Whether a key counts."""

    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls.

    Attributes:
        key_id: Of the key that shows it; "" where none is asked for.
        name: Of that key, for people.
    """

    tenant: str
    scope: Scope
    key_id: str = ""
    name: str = ""

    def may(self, scope: Scope) -> bool:
        """Whether this scope is enough for what takes that one; an admin may do what producers may."""
        return self.scope is Scope.ADMIN or self.scope is scope


@dataclass(slots=True)
class _Known:
    """A key as it was when it was looked up.

    Attributes:
        read_at: When, by the ring's clock.
        good_until: When it expires, by the ring's clock; infinity for never, minus infinity for one revoked.
        noted_ms: Its last use that has been noted.
    """

    row: Any
    read_at: float
    good_until: float
    noted_ms: int = 0


class Keyring:
    """Makes keys and knows them again; safe to share between threads.

    Args:
        secret: What keys are hashed with; with another one, none of the keys made so far is known.
        clock: Seconds of a clock that never runs back.
    """

    def __init__(
        self, database: Database, secret: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._secret = secret
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._lock = Lock()

    def create(
        self, tenant: str, scope: Scope, name: str = "", expires_ms: int | None = None
    ) -> tuple[Any, str]:
        """A new key: its row, and the key itself, which nobody can tell again."""
        public_id = secrets.token_hex(6)
        token = f"{PREFIX}{public_id}-{secrets.token_urlsafe(32)}"
        with self._database.write() as tx:
            row = api_keys.add(
                tx,
                public_id=public_id,
                hash=self._hash(token),
                tenant=tenant,
                scope=scope.value,
                name=name,
                expires_ms=expires_ms,
            )
        return row, token

    def caller_of(self, token: str) -> Caller | None:
        """Who shows this key; None if it is unknown, wrong, expired or revoked, which cannot be told apart.

        Expiry counts to the millisecond, a revocation anywhere within `BELIEVED_FOR_S`. May wait for the database.

        Raises:
            DatabaseError: The database is away.
        """
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        known = self._remembered(parts[1]) or self._look_up(parts[1])
        caller = self._caller(known, token)
        if known is not None and caller is not None:
            self._note_use(known)
        return caller

    def remembered(self, token: str) -> Caller | None:
        """The same, at once: None also if the database would have to be asked."""
        parts = _TOKEN.fullmatch(token)
        return self._caller(self._remembered(parts[1]), token) if parts is not None else None

    def _caller(self, known: _Known | None, token: str) -> Caller | None:
        row = known.row if known is not None else None
        is_right = hmac.compare_digest(self._hash(token), row.hash if row is not None else "")
        if known is None or row is None or not is_right or self._clock() >= known.good_until:
            return None
        return Caller(tenant=row.tenant, scope=Scope(row.scope), key_id=row.public_id, name=row.name)

    def _hash(self, token: str) -> str:
        return hmac.new(self._secret, token.encode(), hashlib.sha256).hexdigest()

    def _remembered(self, public_id: str) -> _Known | None:
        with self._lock:
            known = self._known.get(public_id)
            if known is None or self._clock() - known.read_at >= BELIEVED_FOR_S:
                return None
            self._known.move_to_end(public_id)
            return known

    def _look_up(self, public_id: str) -> _Known | None:
        now = self._clock()
        with self._database.read() as tx:
            row = api_keys.named(tx, public_id)
            good_until = _good_until(row, tx.now_ms, self._clock())
        if row is None:  # not remembered: whoever makes ids up would drive out those that exist
            return None
        with self._lock:
            known = self._known.setdefault(public_id, _Known(row, now, good_until))
            # Counted from before it was read, so that what is revoked while it is read is not believed for longer.
            if now >= known.read_at:
                known.row, known.read_at, known.good_until = row, now, good_until
            known.noted_ms = max(known.noted_ms, row.last_used_ms or 0)
            self._known.move_to_end(public_id)
            while len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
        return known

    def _note_use(self, known: _Known) -> None:
        now_ms = self._database.now_ms()
        with self._lock:
            if now_ms - known.noted_ms < api_keys.NOTED_EVERY_MS:
                return
            known.noted_ms = now_ms
        try:
            with self._database.write() as tx:
                api_keys.note_use(tx, known.row.id)
        except DatabaseError as error:  # a busy database does not keep out whoever has a key
            log.warning("key_use_not_noted", key=known.row.public_id, error=error.message)


def _good_until(row: Any | None, now_ms: int, now_s: float) -> float:
    if row is None or row.revoked_ms is not None:
        return -inf
    return inf if row.expires_ms is None else now_s + (row.expires_ms - now_ms) / 1000


def state_of(row: Any, now_ms: int) -> KeyState:
    """Whether the key of that row counts at that moment."""
    if row.revoked_ms is not None:
        return KeyState.REVOKED
    is_expired = row.expires_ms is not None and row.expires_ms <= now_ms
    return KeyState.EXPIRED if is_expired else KeyState.LIVE


def is_live(database: Database, public_id: str) -> bool:
    """Whether the key of that id counts right now; for those who stay longer than a request.

    Raises:
        DatabaseError: The database is away.
    """
    with database.read() as tx:
        row = api_keys.named(tx, public_id)
    return row is not None and state_of(row, database.now_ms()) is KeyState.LIVE


def listed(
    database: Database,
    *,
    most: int,
    after: str | None = None,
    tenant: str | None = None,
    ended_too: bool = False,
) -> Sequence[Any]:
    """The rows of the newest keys, up to so many, those that count no more only if asked for.

    Args:
        after: Only keys older than the one of this name.

    Raises:
        NotFoundError: There is none of that name, or there are several.
    """
    before = key_named(database, after).id if after is not None else None
    with database.read() as tx:
        return api_keys.page(tx, most=most, before=before, tenant=tenant, ended_too=ended_too)


def revoke(database: Database, name: str) -> tuple[Any, bool]:
    """Let a key count no more; its row, and whether that is new. Needs no secret, so that it can be done anywhere.

    Raises:
        NotFoundError: There is none of that name, or there are several.
    """
    found = key_named(database, name)
    with database.write() as tx:
        is_new = api_keys.revoke(tx, found.id)
        return api_keys.named(tx, found.public_id), is_new


def key_named(database: Database, name: str) -> Any:
    """The key of that id, or whose id alone begins so; its row.

    Args:
        name: With or without `bm-`; four digits of the id at least; also a whole key, of which no more is looked at.

    Raises:
        NotFoundError: There is none, or there are several. No key is repeated.
    """
    parts = _NAME.fullmatch(name.strip())
    if parts is None:
        raise NotFoundError(
            "that names no key: an id is 12 digits from 0 to f, of which the first four may do", _HINT
        )
    wanted = parts[1]
    with database.read() as tx:
        exact = api_keys.named(tx, wanted)
        found = [exact] if exact is not None else list(api_keys.beginning(tx, wanted, most=2))
    if len(found) > 1:
        raise NotFoundError(f'"{wanted}" fits more than one key', f"give more of the id; {_HINT}")
    if not found:
        raise NotFoundError(f'there is no key "{wanted}"', _HINT)
    return found[0]
