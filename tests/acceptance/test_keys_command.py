"""batchmill keys: made, listed, revoked as an owner does it, and every misuse told."""

import json
import re
from typing import Any

import pytest

from batchmill.settings import load_settings
from tests.support.mill import Mill
from workers.assembly import make_database
from workers.serving.key_secret import keys_secret
from workers.serving.keys import Caller, Keyring, Scope

KEY = re.compile(r"bm-[0-9a-f]{12}-[A-Za-z0-9_-]{43}")


def told(mill: Mill, *arguments: str) -> Any:
    """What a command of the group prints as JSON; it has to succeed."""
    done = mill.quickly("keys", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def made(mill: Mill, *arguments: str) -> str:
    """A new key, as printed."""
    done = mill.quickly("keys", "create", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def caller_of(mill: Mill, token: str) -> Caller | None:
    """Who shows that key to a service with the mill's settings."""
    settings = load_settings({"BATCHMILL_HOME": str(mill.home)} | mill.environ, None)
    database = make_database(settings)
    try:
        return Keyring(database, keys_secret(settings)).caller_of(token)
    finally:
        database.close()


def test_the_life_of_a_key(everywhere: Mill) -> None:
    """Made for a tenant, known to the service, listed, revoked, refused; on an embedded database and a shared one."""
    mill = everywhere
    if "DATABASE_URL" in mill.environ:
        mill.environ["BATCHMILL_KEYS_SECRET"] = "k" * 64
    token = made(mill, "--tenant", "acme", "--scope", "admin", "--name", "nightly")
    assert KEY.fullmatch(token)
    key_id = token.split("-")[1]
    assert caller_of(mill, token) == Caller(tenant="acme", scope=Scope.ADMIN, key_id=key_id, name="nightly")
    (listed,) = told(mill, "list")
    assert listed["last_used_at"] is not None
    assert (listed["id"], listed["tenant"], listed["state"]) == (key_id, "acme", "live")
    mill.environ.pop("BATCHMILL_KEYS_SECRET", None)  # whoever revokes need not have it
    assert told(mill, "revoke", key_id[:6])["state"] == "revoked"
    if "DATABASE_URL" in mill.environ:
        mill.environ["BATCHMILL_KEYS_SECRET"] = "k" * 64
    assert caller_of(mill, token) is None
    assert told(mill, "list") == []
    assert [one["state"] for one in told(mill, "list", "--all")] == ["revoked"]


def test_a_key_is_on_standard_output_alone_and_only_once(mill: Mill) -> None:
    """So that it can be put into a file; what is said beside it does not hold it, nor does any later command."""
    done = mill("keys", "create", "--expires", "90d")
    token = done.stdout.strip()
    assert KEY.fullmatch(token)
    assert token.split("-")[1] in done.stderr
    assert "only this once" in done.stderr
    secret = token.split("-", 2)[2]
    table, document = mill("keys", "list", "--all"), mill("keys", "list", "--all", "--json")
    revoked = mill("keys", "revoke", token)
    for one in (table, document, revoked):
        assert one.returncode == 0, one.stderr
    for shown in (done.stderr, *(one.stdout + one.stderr for one in (table, document, revoked))):
        assert secret not in shown
    kept = (file for file in mill.home.rglob("*") if file.is_file())
    assert not [file for file in kept if secret.encode() in file.read_bytes()]


def test_what_is_not_said(mill: Mill) -> None:
    """A key is a producer's, of the tenant that the command line works as, and for ever."""
    key = told(mill, "create")
    assert KEY.fullmatch(key["key"])
    assert (key["tenant"], key["scope"], key["name"], key["expires_at"]) == ("local", "producer", None, None)


def test_an_expired_key_is_listed_only_if_asked_for(mill: Mill) -> None:
    """And refused."""
    token = made(mill, "--expires", "1h")
    mill.execute("UPDATE api_keys SET expires_ms = created_ms")
    assert caller_of(mill, token) is None
    assert told(mill, "list") == []
    assert [one["state"] for one in told(mill, "list", "--all")] == ["expired"]


def test_pages_of_keys(mill: Mill) -> None:
    """The command for the next one is told, and works."""
    ids = [told(mill, "create", "--name", name)["id"] for name in "abc"]
    first = mill.quickly("keys", "list", "--limit", "2")
    assert [line.split()[0] for line in first.stdout.splitlines()[1:]] == ids[:0:-1]
    assert f"batchmill keys list --after {ids[1]}" in first.stderr
    assert [one["id"] for one in told(mill, "list", "--after", ids[1])] == ids[:1]


def test_where_there_is_nothing_yet(mill: Mill) -> None:
    """Looking makes no database and no secret."""
    done = mill.quickly("keys", "list")
    assert (done.returncode, done.stdout) == (0, "")
    assert "batchmill keys create" in done.stderr
    assert "there is no key" in mill.refused("keys", "revoke", "0123456789ab")
    assert not mill.home.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("create --scope root", "'root' is not one of"),
        ("create --expires never", "--expires: 'never' is no time"),
        ("create --expires 2020-01-01T00:00Z", "is in the past"),
        ("create --expires 11y", "is no time"),
        ("create --expires 99999d", "more than ten years away"),
        ("create --expires 2030-01-01", "has no time zone"),
        ("revoke", "Missing argument"),
        ("revoke latest", "that names no key"),
        ("revoke 0123", 'there is no key "0123"'),
        ("list --after 0123", 'there is no key "0123"'),
        ("list --limit 0", "--limit"),
    ],
)
def test_misuse_is_told(mill: Mill, arguments: str, said: str) -> None:
    """Naming what is wrong."""
    assert said in mill.refused("keys", *arguments.split(" "))


def test_a_secret_that_is_missing_or_exposed_is_told(mill: Mill) -> None:
    """With how to make one, or how to keep others out; no key is made."""
    made(mill)
    (mill.home / "keys.secret").chmod(0o644)
    assert "chmod 600" in mill.refused("keys", "create")
    assert mill.query("SELECT count(*) FROM api_keys") == [(1,)]
    mill.environ["DATABASE_URL"] = "postgresql://nobody@nowhere.invalid/none"
    said = mill.refused("keys", "create")
    assert "BATCHMILL_KEYS_SECRET is not set" in said
    assert "openssl rand -hex 32" in said


def test_config_masks_the_secret(mill: Mill) -> None:
    """As a table and as JSON."""
    mill.environ["BATCHMILL_KEYS_SECRET"] = secret = "not-for-your-eyes-0123456789-abcdef"
    for options in ((), ("--json",)):
        done = mill.quickly("config", *options)
        assert done.returncode == 0, done.stderr
        assert "BATCHMILL_KEYS_SECRET" in done.stdout
        assert secret not in done.stdout + done.stderr
