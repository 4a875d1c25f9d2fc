"""`batchmill cache`: what the cache holds, what it was good for, and how to empty it."""

import sys
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchmill.errors import MisuseError
from batchmill.money.nanos import format_usd
from batchmill.periods import point_named
from cli.home import home_option, opened_database
from cli.output import json_option, narrate, print_json, print_table
from cli.text import Text

if TYPE_CHECKING:
    from db.cache_contents import Contents, Dropped

MB = 1_000_000


@click.group()
def cache() -> None:
    """See what the result cache holds, clean it up, empty it."""


@cache.command()
@click.option(
    "--since",
    metavar="TIME",
    default="30d",
    show_default=True,
    help="Over which time hits are counted: a date, an ISO time (UTC), or a span back (24h, 7d).",
)
@home_option
@json_option
def stats(since: str, home: Path | None, as_json: bool) -> None:
    """Show by request type what the cache holds, and what it saved.

    The hit rate is the share of requests that were answered without a call. Saved is what the calls had cost
    whose answers were used again.
    """
    from db.cache_contents import contents
    from workers.cache_views import contents_view, total_of

    with opened_database(home) as database:
        since_ms = point_named("--since", since, zone=UTC, now_ms=database.now_ms())
        found = contents(database, since_ms or 0)
    if as_json:
        print_json(contents_view(found))
    else:
        shown = [{"type": name or None, **_for_people(one)} for name, one in found.items()]
        print_table([*shown, {"type": "total", **_for_people(total_of(found))}])


@cache.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@home_option
@json_option
def cleanup(dry_run: bool, home: Path | None, as_json: bool) -> None:
    """Drop expired entries, and the answers that nothing points to any more.

    Safe at any time, beside running workers. Results of batches stay readable. They keep their answers: most
    answers stay for as long as their batch.
    """
    from db.cache_contents import Choice, drop, would_drop

    with opened_database(home) as database:
        now_ms = database.now_ms()
        choice = Choice(made_by_ms=now_ms, expired_by_ms=now_ms)
        dropped = would_drop(database, choice) if dry_run else drop(database, choice)
    _tell(dropped, as_json, is_done=not dry_run)


@cache.command()
@click.option(
    "--type", "request_type", type=Text(), metavar="TYPE", help="Only answers to this type of request."
)
@click.option("--tenant", type=Text(), metavar="TENANT", help="Only this tenant's.")
@click.option("--model", type=Text(), metavar="MODEL", help="Only answers of this model.")
@click.option(
    "--older-than", metavar="TIME", help="Only those made before: 7d, 24h, a date, an ISO time (UTC)."
)
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@home_option
@json_option
def clear(
    request_type: str | None,
    tenant: str | None,
    model: str | None,
    older_than: str | None,
    yes: bool,
    home: Path | None,
    as_json: bool,
) -> int:
    """Drop entries of the cache, all or some: their questions are asked, and paid for, anew.

    Safe at any time, beside running workers. Results of batches stay readable.
    """
    from db.cache_contents import Choice, count, drop

    with opened_database(home) as database:
        now_ms = database.now_ms()
        before_ms = point_named("--older-than", older_than, zone=UTC, now_ms=now_ms)
        choice = Choice(
            made_by_ms=now_ms if before_ms is None else before_ms,
            request_type=request_type,
            tenant=tenant,
            model=model,
        )
        if not yes and not _is_confirmed(count(database, choice)):
            narrate("nothing was dropped")
            return 1
        dropped = drop(database, choice)
    _tell(dropped, as_json)
    return 0


def _is_confirmed(entries: int) -> bool:
    if not entries:
        return True
    if not sys.stdin.isatty():
        raise MisuseError(
            f"this drops {entries:,} entries of the cache, and there is no terminal to ask at",
            "give --yes to drop them; `batchmill cache stats` shows what there is",
        )
    return click.confirm(f"drop {entries:,} entries? Their questions will be paid for anew", err=True)


def _for_people(one: "Contents") -> dict[str, Any]:
    from workers.cache_views import exact

    shown = exact(one)
    rate, size = shown["hit_rate"], shown.pop("answer_bytes") / MB
    shown |= {"hit_rate": None if rate is None else f"{rate:.1%}", "mb": f"{size:,.1f}"}
    del shown["saved_usd"]
    return shown | {"saved": format_usd(one.saved_nanos)}


def _tell(dropped: "Dropped", as_json: bool, *, is_done: bool = True) -> None:
    from workers.cache_views import dropped_view

    if as_json:
        print_json(dropped_view(dropped, is_done=is_done))
        return
    verb = "dropped" if is_done else "would drop"
    narrate(
        f"{verb} {dropped.entries:,} entries, and {dropped.answers:,} answers"
        f" ({dropped.answer_bytes / MB:,.1f} MB) that nothing else points to"
    )
