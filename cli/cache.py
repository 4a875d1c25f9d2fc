"""`batchmill cache`: what the cache holds, what it was good for, and how it is kept small or emptied."""

import sys
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchmill.errors import MisuseError
from batchmill.periods import point_named
from cli.home import database_of, home_option, opened_database, settings_at
from cli.output import json_option, narrate, print_json
from cli.text import Text

if TYPE_CHECKING:
    from db.cache_drops import Dropped


@click.group()
def cache() -> None:
    """See what the result cache holds, clean it up, empty it."""


@cache.command()
@click.option(
    "--since",
    metavar="TIME",
    default="30d",
    show_default=True,
    help="Over which time requests are counted: a date, an ISO time (UTC), or a span back (24h, 7d).",
)
@home_option
@json_option
def stats(since: str, home: Path | None, as_json: bool) -> None:
    """Show by request type what the cache holds, what it saved, and how well it serves.

    The hit rate is the share of requests that were answered without a call. Saved is what the calls had cost
    whose answers were used again. Hits per entry are over the entries' whole lives. The response time is how long a
    request's calls took on average, those answered without one included.
    """
    from cli.cache_output import print_contents
    from db.cache_contents import contents
    from workers.cache_upkeep import room_of
    from workers.cache_views import contents_view

    settings = settings_at(home)
    with database_of(settings) as database:
        since_ms = point_named("--since", since, zone=UTC, now_ms=database.now_ms())
        found = contents(database, since_ms or 0)
    if as_json:
        print_json(contents_view(found, room_of(settings)))
    else:
        print_contents(found, room_of(settings))


@cache.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@home_option
@json_option
def cleanup(dry_run: bool, home: Path | None, as_json: bool) -> None:
    """Drop expired entries, and the answers that nothing points to any more.

    Safe at any time, beside running workers. Results of batches stay readable. They keep their answers: most
    answers stay for as long as their batch. What somebody has verified stays.
    """
    from db.cache_contents import drop, expired, would_drop

    with opened_database(home) as database:
        choice = expired(database.now_ms())
        dropped = would_drop(database, choice) if dry_run else drop(database, choice)
    _tell(dropped, as_json, is_done=not dry_run)


@cache.command()
@click.option(
    "--max-mb",
    type=click.IntRange(min=0),
    metavar="N",
    help="Size of the answers that may stay; 0 = any.  [default: BATCHMILL_CACHE_MAX_MB]",
)
@click.option(
    "--max-entries",
    type=click.IntRange(min=0),
    metavar="N",
    help="How many may stay; 0 = any number.  [default: BATCHMILL_CACHE_MAX_ENTRIES]",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be dropped.")
@home_option
@json_option
def optimize(
    max_mb: int | None, max_entries: int | None, dry_run: bool, home: Path | None, as_json: bool
) -> None:
    """Drop expired entries; then, if the cache is above its size, what is worth least until it fits.

    Worth is what an answer had cost, times its uses, for its size; its rating counts, and each week without use halves
    it. What somebody has verified stays. A tenth of the size is left free. This is what the job `cache-cleanup` does
    every hour. Safe at any time, beside running workers. Results of batches stay readable.
    """
    from cli.cache_output import StageLine, print_clean_up
    from workers.cache_upkeep import clean_up, room_of
    from workers.cache_views import clean_up_view

    settings = settings_at(home)
    room = room_of(settings, max_mb=max_mb, max_entries=max_entries)
    with database_of(settings) as database, StageLine() as line:
        done = clean_up(database, room, tell=line.show, is_dry=dry_run)
    if as_json:
        print_json(clean_up_view(done))
    else:
        print_clean_up(done)


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


def _tell(dropped: "Dropped", as_json: bool, *, is_done: bool = True) -> None:
    from cli.cache_output import tell_dropped
    from workers.cache_views import dropped_view

    if as_json:
        print_json(dropped_view(dropped, is_done=is_done))
    else:
        tell_dropped(dropped, is_done=is_done)
