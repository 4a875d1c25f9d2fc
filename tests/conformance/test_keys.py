"""API keys, on both databases: made, known again, expired, revoked, listed; and the secret they are hashed with."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from batchmill.errors import DatabaseError, NotFoundError, SettingsError
from batchmill.settings import Settings, load_settings
from db import api_keys
from db.engine import Database
from tests.support.clocks import FakeClock
from workers.serving import keys
from workers.serving.key_secret import keys_secret
from workers.serving.keys import Caller, Keyring, KeyState, Scope, key_named, listed, revoke, state_of

SECRET = b"s" * 64
MINUTE_MS = 60_000


@dataclass(slots=True)
class Process:
    """A process that knows keys, and its own clock."""

    database: Database
    now_s: float = 0.0
    secret: bytes = SECRET
    ring: Keyring = field(init=False)

    def __post_init__(self) -> None:
        self.ring = Keyring(self.database, self.secret, clock=lambda: self.now_s)

    def make(self, tenant: str = "acme", expires_ms: int | None = None) -> str:
        """A producer's new key."""
        return self.ring.create(tenant, Scope.PRODUCER, expires_ms=expires_ms)[1]


@pytest.fixture
def here(database: Database) -> Process:
    """A process on the test's database."""
    return Process(database)


@pytest.fixture
def there(database_url: str, clock: FakeClock) -> Iterator[Process]:
    """Another one."""
    with closing(Database(database_url, clock=clock)) as database:
        yield Process(database)


def id_of(token: str) -> str:
    """By what a key is listed."""
    return token.split("-")[1]


def rows(database: Database) -> list[Any]:
    """All that is kept of keys, oldest first."""
    with database.read() as tx:
        return list(tx.rows(text("SELECT * FROM api_keys ORDER BY id")))


def test_a_key_says_who_calls(here: Process, there: Process) -> None:
    """In any process that has the same secret."""
    row, token = here.ring.create("acme", Scope.ADMIN, "nightly")
    caller = Caller(tenant="acme", scope=Scope.ADMIN, key_id=row.public_id, name="nightly")
    assert here.ring.caller_of(token) == there.ring.caller_of(token) == caller
    assert (row.created_ms, row.expires_ms, row.revoked_ms) == (here.database.now_ms(), None, None)


def test_what_scopes_may() -> None:
    """An admin what producers may; a producer only that."""
    producer = Caller(tenant="t", scope=Scope.PRODUCER)
    admin = Caller(tenant="t", scope=Scope.ADMIN)
    assert [producer.may(scope) for scope in Scope] == [True, False]
    assert [admin.may(scope) for scope in Scope] == [True, True]


def test_the_key_itself_is_kept_nowhere(here: Process) -> None:
    """Of 43 random characters not even a part; all keys differ, and so do their hashes."""
    tokens = [here.make() for _ in range(20)]
    kept = rows(here.database)
    for token, row in zip(tokens, kept, strict=True):
        assert len(token) == len("bm-") + 12 + 1 + 43
        secret = token.split("-", 2)[2]
        assert not any(secret[start : start + 8] in str(tuple(row)) for start in range(36))
    assert len({token.split("-", 2)[2] for token in tokens}) == len({row.hash for row in kept}) == 20


def test_what_is_no_key_is_nobody(here: Process) -> None:
    """Unknown, wrong, of another key, malformed: all the same."""
    token, other = here.make(), here.make()
    end = "A" if token[-1] != "A" else "B"
    wrong = [
        token[:-1] + end,
        f"bm-{id_of(other)}-{token.split('-', 2)[2]}",
        f"bm-{'0' * 12}-{token.split('-', 2)[2]}",
        *(
            "",
            "bm-",
            "sk-test",
            token[:-1],
            token + "A",
            token.upper(),
            f" {token}",
            f"{token}\n",
            "bm-é",
            "\0",
        ),
    ]
    assert here.ring.caller_of(token) is not None
    assert [here.ring.caller_of(one) for one in wrong] == [None] * len(wrong)


def test_another_secret_makes_all_keys_void(here: Process) -> None:
    """So it is how to be rid of all of them; the old one brings them back."""
    token = here.make()
    assert Process(here.database, secret=b"t" * 64).ring.caller_of(token) is None
    assert Process(here.database).ring.caller_of(token) is not None


def test_a_hash_put_under_another_key_is_no_use(here: Process) -> None:
    """Whoever can write to the database cannot give his own key another's id: the id is hashed as well."""
    mine, admins = here.make(), here.ring.create("acme", Scope.ADMIN)[1]
    with here.database.write() as tx:
        copied = text("UPDATE api_keys SET hash = (SELECT hash FROM api_keys WHERE public_id = :mine)")
        tx.run(copied, mine=id_of(mine))
    forged = f"bm-{id_of(admins)}-{mine.split('-', 2)[2]}"
    assert Process(here.database).ring.caller_of(forged) is None


def test_a_key_counts_until_it_expires(here: Process, clock: FakeClock) -> None:
    """To the millisecond, though it has just been looked up."""
    token = here.make(expires_ms=clock.now_ms() + 500)
    assert here.ring.caller_of(token) is not None
    here.now_s += 0.499
    assert here.ring.caller_of(token) is not None
    here.now_s += 0.001
    assert here.ring.caller_of(token) is None
    clock.advance(500)
    assert Process(here.database).ring.caller_of(token) is None


def test_a_revoked_key_is_refused_within_a_second(here: Process, there: Process) -> None:
    """Also where it was in use just before, and by a revocation in another process."""
    token = here.make()
    assert here.ring.caller_of(token) is not None
    row, is_new = revoke(there.database, id_of(token))
    assert (is_new, row.revoked_ms) == (True, there.database.now_ms())
    assert there.ring.caller_of(token) is None
    here.now_s += 1.0
    assert here.ring.caller_of(token) is None


def test_a_key_in_use_is_looked_up_once_a_second(here: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests it makes."""
    token = here.make()
    reads = count_reads(monkeypatch)
    for _ in range(100):
        here.now_s += 0.025
        assert here.ring.caller_of(token) is not None
    assert len(reads) == 3


def test_what_is_remembered_is_told_without_the_database(
    here: Process, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a second, and only if it is right and has not expired; else nothing is told."""
    token, other = here.make(expires_ms=clock.now_ms() + 500), here.make()
    end = "A" if token[-1] != "A" else "B"
    assert here.ring.remembered(token) is None
    caller = here.ring.caller_of(token)
    reads = count_reads(monkeypatch)
    assert caller is not None
    assert here.ring.remembered(token) == caller
    assert here.ring.remembered(token[:-1] + end) is here.ring.remembered(other) is None
    assert here.ring.remembered("sk-none") is None
    assert here.ring.caller_of(other) is not None
    here.now_s += 0.5
    assert here.ring.remembered(token) is None
    assert here.ring.remembered(other) is not None
    here.now_s += 0.5
    assert here.ring.remembered(other) is None
    assert reads == [id_of(other)]


def test_memory_is_bounded(here: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys used long ago are forgotten and looked up again; ids that do not exist leave nothing."""
    monkeypatch.setattr(keys, "MOST_REMEMBERED", 3)
    tokens = [here.make() for _ in range(6)]
    assert all(here.ring.caller_of(token) for token in tokens * 2)
    for number in range(10):
        assert here.ring.caller_of(f"bm-{number:012x}-{'A' * 43}") is None
    assert list(here.ring._known) == [id_of(token) for token in tokens[3:]]


def test_revoked_once_is_revoked_for_ever(here: Process, clock: FakeClock) -> None:
    """A second time changes nothing, not even when it was."""
    token = here.make()
    first, _ = revoke(here.database, id_of(token))
    clock.advance(5_000)
    again, is_new = revoke(here.database, id_of(token))
    assert not is_new
    assert again.revoked_ms == first.revoked_ms


def test_its_use_is_noted_once_a_minute(here: Process, there: Process, clock: FakeClock) -> None:
    """In all processes together; a refused use is none."""
    token, began = here.make(), clock.now_ms()
    end = "A" if token[-1] != "A" else "B"
    assert here.ring.caller_of(token[:-1] + end) is None
    assert rows(here.database)[0].last_used_ms is None
    seen = []
    for process in (here, there, here, there, here):
        process.now_s += 2
        assert process.ring.caller_of(token) is not None
        seen.append(rows(here.database)[0].last_used_ms - began)
        clock.advance(20_000)
    assert seen == [0, 0, 0, MINUTE_MS, MINUTE_MS]


def test_a_key_is_good_though_its_use_cannot_be_noted(here: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full or busy database keeps nobody out; it is not tried again for a minute."""
    token = here.make()
    tries = []

    def full(*_: Any) -> bool:
        tries.append(1)
        raise DatabaseError("it is full")

    monkeypatch.setattr(api_keys, "note_use", full)
    for _ in range(5):
        here.now_s += 2
        assert here.ring.caller_of(token) is not None
    assert len(tries) == 1


def test_many_threads_know_a_key(here: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, and its use is noted once."""
    token = here.make()
    noted = []
    note_use = api_keys.note_use
    monkeypatch.setattr(api_keys, "note_use", lambda *args: noted.append(1) or note_use(*args))
    with ThreadPoolExecutor(8) as threads:
        callers = list(threads.map(lambda _: here.ring.caller_of(token), range(200)))
    assert len({caller.key_id for caller in callers if caller}) == 1
    assert None not in callers
    assert len(noted) == 1


def test_the_list_is_newest_first_in_pages(here: Process, clock: FakeClock) -> None:
    """Of keys that count, unless all are asked for; of one tenant, or of all."""
    tokens = [here.make(tenant) for tenant in ("acme", "beta", "acme", "acme")]
    expiring = here.make(expires_ms=clock.now_ms() + 1)
    clock.advance(1)
    revoke(here.database, id_of(tokens[2]))

    def ids(**asked: Any) -> list[str]:
        return [row.public_id for row in listed(here.database, **{"most": 10, **asked})]

    def named(*of: str) -> list[str]:
        return [id_of(token) for token in of]

    assert ids() == named(tokens[3], tokens[1], tokens[0])
    assert ids(ended_too=True) == named(expiring, *reversed(tokens))
    assert ids(most=2) == named(tokens[3], tokens[1])
    assert ids(after=id_of(tokens[1])) == named(tokens[0])
    assert ids(tenant="acme") == named(tokens[3], tokens[0])
    states = [state_of(row, clock.now_ms()) for row in listed(here.database, most=3, ended_too=True)]
    assert states == [KeyState.EXPIRED, KeyState.LIVE, KeyState.REVOKED]


def test_a_key_goes_by_its_id_or_the_beginning_of_it(here: Process) -> None:
    """Also by the whole key, as whoever finds one lying about has it; its secret is then not looked at."""
    tokens = [here.make() for _ in range(2)]
    called(here.database, tokens[0], "aaaa11112222")
    called(here.database, tokens[1], "aaaa33332222")
    wrong = f"bm-aaaa11112222-{'x' * 43}"
    for name in ("aaaa11112222", "aaaa1", "bm-aaaa1111", wrong, " aaaa1 "):
        assert key_named(here.database, name).public_id == "aaaa11112222"


@pytest.mark.parametrize("name", ["aaaa", "aaa", "bbbb", "%%%%", "____", "", "latest", "bm-", "AAAA1"])
def test_names_that_fit_none_or_two(here: Process, name: str) -> None:
    """Each is refused, with what shows which there are."""
    for digit in "13":
        called(here.database, here.make(), "aaaa" + digit * 8)
    with pytest.raises(NotFoundError) as caught:
        key_named(here.database, name)
    assert "batchmill keys list" in caught.value.hint


def test_a_mangled_key_is_not_repeated(here: Process) -> None:
    """Most of it may still be secret."""
    token = here.make()
    with pytest.raises(NotFoundError) as caught:
        key_named(here.database, token + "=")
    assert token[16:30] not in caught.value.message + caught.value.hint


def test_where_the_secret_comes_from(settings: Settings, dialect: str, tmp_path: Any) -> None:
    """As set; else an embedded home has its own, and a shared database is refused, with how to make one."""
    given = settings.model_copy(
        update={"service": load_settings({"BATCHMILL_KEYS_SECRET": "k" * 32}, None).service}
    )
    assert keys_secret(given) == b"k" * 32
    assert not (settings.home / "keys.secret").exists()
    if dialect == "sqlite":
        assert keys_secret(settings) == keys_secret(settings)
        assert len(keys_secret(settings)) == 64
        return
    with pytest.raises(SettingsError, match="BATCHMILL_KEYS_SECRET") as refused:
        keys_secret(settings)
    assert "openssl rand -hex 32" in refused.value.hint


def called(database: Database, token: str, public_id: str) -> None:
    """Give a key an id of the test's choice."""
    with database.write() as tx:
        renamed = text("UPDATE api_keys SET public_id = :new WHERE public_id = :old")
        tx.run(renamed, new=public_id, old=id_of(token))


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids that are looked up from now on."""
    reads: list[str] = []
    named = api_keys.named
    monkeypatch.setattr(api_keys, "named", lambda tx, key: reads.append(key) or named(tx, key))
    return reads
