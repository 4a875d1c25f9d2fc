"""`batchmill keys`: who may call the HTTP service."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.home import home_option, opened_database, settings_at
from cli.inputs import LOCAL_TENANT
from cli.output import json_option, narrate, print_json, print_table
from cli.text import Name, Text

if TYPE_CHECKING:
    pass

EXPIRES = "--expires"
SCOPES = ("producer", "admin")
"""Those of `workers.serving.keys.Scope`, which would slow down --help."""


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of the HTTP service.

    A key belongs to a tenant and sees nothing of others. A producer's key hands in requests and batches and reads
    their results; an admin's key may do that, and whatever is under /admin.
    """


@keys.command()
@click.option("--tenant", type=Name(), default=LOCAL_TENANT, show_default=True, help="Whose key it is.")
@click.option(
    "--scope", type=click.Choice(SCOPES), default=SCOPES[0], show_default=True, help="What it may do."
)
@click.option("--name", type=Name(), default="", help="What it is for, for people.")
@click.option(
    EXPIRES,
    metavar="TIME",
    help="Until when it counts: 90d, 12h, or a moment with its zone (2027-03-01T18:00Z).  [default: for ever]",
)
@home_option
@json_option
def create(tenant: str, scope: str, name: str, expires: str | None, home: Path | None, as_json: bool) -> None:
    """Make a key and print it, this once: only a hash of it is kept.

    On a shared database BATCHMILL_KEYS_SECRET has to be set as it is for the service.
    """
    from batchmill.requests.deadline import parse_deadline, require_future
    from workers.assembly import prepared_database
    from workers.serving.key_secret import keys_secret
    from workers.serving.keys import Keyring, Scope

    settings = settings_at(home)
    secret = keys_secret(settings)
    database = prepared_database(settings)
    try:
        now_ms = database.now_ms()
        expires_ms = parse_deadline(expires, now_ms, option=EXPIRES) if expires is not None else None
        require_future(expires_ms, now_ms, option=EXPIRES)
        row, token = Keyring(database, secret).create(tenant or LOCAL_TENANT, Scope(scope), name, expires_ms)
        shown = _as_json(row, now_ms)
    finally:
        database.close()
    if as_json:
        print_json(shown | {"key": token})
    else:
        click.echo(token)
    until = f", until {shown['expires_at']}" if shown["expires_at"] else ""
    narrate(
        f"made key {row.public_id} of tenant {row.tenant}, {row.scope}{until}; it is shown only this once"
    )


@keys.command("list")
@click.option("--all", "ended_too", is_flag=True, help="Also keys that are revoked or expired.")
@click.option("--tenant", type=Text(), help="Only this tenant's.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at most."
)
@click.option("--after", type=Text(), metavar="KEY_ID", help="Only keys older than this one: the next page.")
@home_option
@json_option
def list_(
    ended_too: bool, tenant: str | None, limit: int, after: str | None, home: Path | None, as_json: bool
) -> None:
    """Show the keys there are, newest first.

    The keys themselves nobody can show again. When one was last used is known to the minute.
    """
    from workers.serving.keys import listed

    with opened_database(home) as database:
        found = listed(database, most=limit + 1, after=after, tenant=tenant, ended_too=ended_too)
        now_ms = database.now_ms()
    shown = [_as_json(row, now_ms) for row in found[:limit]]
    if as_json:
        print_json(shown)
    else:
        print_table([_row(one, with_state=ended_too) for one in shown])
    if not shown:
        narrate("there is no such key; `batchmill keys create` makes one")
    elif len(found) > limit:
        narrate(f"there are more: `batchmill keys list --after {shown[-1]['id']}`")


@keys.command()
@click.argument("key_id", type=Text())
@home_option
@json_option
def revoke(key_id: str, home: Path | None, as_json: bool) -> None:
    """Let a key count no more, for ever.

    Running services refuse it within a second. KEY_ID is what `keys list` shows, or its first four digits or more
    if no other begins so.
    """
    from workers.serving import keys as service

    with opened_database(home) as database:
        row, is_new = service.revoke(database, key_id)
        shown = _as_json(row, database.now_ms())
    if as_json:
        print_json(shown)
    whose = f"{row.public_id} of tenant {row.tenant}"
    narrate(f"revoked key {whose}" if is_new else f"key {whose} was revoked before, at {shown['revoked_at']}")


def _as_json(row: Any, now_ms: int) -> dict[str, Any]:
    from workers.serving.keys import state_of
    from workers.views import time_text

    return {
        "id": row.public_id,
        "tenant": row.tenant,
        "scope": row.scope,
        "name": row.name or None,
        "state": state_of(row, now_ms),
        "created_at": time_text(row.created_ms),
        "expires_at": time_text(row.expires_ms),
        "revoked_at": time_text(row.revoked_ms),
        "last_used_at": time_text(row.last_used_ms),
    }


def _row(shown: dict[str, Any], *, with_state: bool) -> dict[str, object]:
    columns = ("id", "tenant", "scope", "name", "created_at", "expires_at", "last_used_at")
    row = {name.removesuffix("_at"): shown[name] for name in columns}
    return row | {"state": shown["state"]} if with_state else row
