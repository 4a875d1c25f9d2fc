"""`batchmill training`: answers that are known to be good, as training data."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchmill.training.model import LEAST_RATING, MOST_RATING, Format
from cli.home import home_option, opened_database
from cli.lazy import LazyCommand, LazyGroup
from cli.output import counted, json_option, narrate, print_json, print_table
from cli.text import Text

if TYPE_CHECKING:
    from db.engine import Database
    from db.marks import Filter

ELSEWHERE = {
    "mark": LazyCommand(module="cli.training_mark", help="Say of answers that they are good, or not."),
    "export": LazyCommand(module="cli.training_export", help="Write good answers for fine-tuning."),
}
"""Commands of this group that have files of their own."""

SHOWN_FAULTS = 1_000

Command = Callable[..., Any]

format_option: Callable[[Command], Command] = click.option(
    "--format",
    "format_",
    type=click.Choice([format_.value for format_ in Format]),
    default=Format.OPENAI.value,
    show_default=True,
    help="Whose: OpenAI's, Gemini's, Hugging Face's messages, or prompt and completion.",
)
_WHICH = (
    click.option(
        "--min-rating",
        type=click.IntRange(LEAST_RATING, MOST_RATING),
        help="Rated so or better; those that are verified count, too.",
    ),
    click.option("--verified-only", is_flag=True, help="Only those that are verified."),
    click.option("--type", "request_type", type=Text(), metavar="TYPE", help="Only answers to this type."),
    click.option("--tag", type=Text(), help="Only those with this tag."),
    click.option("--tenant", type=Text(), metavar="TENANT", help="Only this tenant's."),
    click.option("--model", type=Text(), metavar="MODEL", help="Only answers of this model."),
    click.option(
        "--since", metavar="TIME", help="Answered then or later: a date, an ISO time (UTC), or 7d, 24h back."
    ),
    click.option("--until", metavar="TIME", help="Answered before then: the same."),
)


def chooses_marks(command: Command) -> Command:
    """Add the options that choose among marks."""
    for option in reversed(_WHICH):
        command = option(command)
    return command


def chosen(database: "Database", *, since: str | None, until: str | None, **others: Any) -> dict[str, Any]:
    """What these options choose, as `Filter` takes it."""
    from datetime import UTC

    from batchmill.periods import point_named

    now_ms = database.now_ms()
    return others | {
        "since_ms": point_named("--since", since, zone=UTC, now_ms=now_ms),
        "until_ms": point_named("--until", until, zone=UTC, now_ms=now_ms),
    }


@click.group(cls=LazyGroup, lazy_commands=ELSEWHERE)
def training() -> None:
    """Good answers as training data.

    Mark answers that are good, export them in the format of a vendor's fine-tuning, check any file by its rules.
    An answer and its question stay for as long as the answer is marked.
    """


@training.command("list")
@click.option("--batch", type=Text(), help="Only of this batch.")
@chooses_marks
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most."
)
@home_option
@json_option
def list_(batch: str | None, limit: int, home: Path | None, as_json: bool, **which: Any) -> None:
    """Show the answers that are marked, the last marked first, and how many there are of each rating."""
    from db.marks import Filter, listed, standing
    from workers.naming import batch_named
    from workers.training_views import mark_view, standing_view

    with opened_database(home) as database:
        number = None if batch is None else batch_named(database, batch).id
        wanted = _listed(Filter(batch=number, **chosen(database, **which)))
        with database.read() as tx:
            found = listed(tx, wanted, most=limit + 1)
            counts = standing_view(standing(tx, wanted))
    shown = [mark_view(row) for row in found[:limit]]
    if as_json:
        print_json(counts | {"has_more": len(found) > limit, "marks": shown})
        return
    print_table([_for_people(one) for one in shown])
    ratings = ", ".join(
        f"{times:,} not rated" if rating == "none" else f"{times:,} rated {rating}"
        for rating, times in counts["by_rating"].items()
    )
    in_all = f"{counted(counts['marked'], 'answer')} marked: {counts['verified']:,} verified; {ratings}"
    narrate(in_all if counts["marked"] else "no answer is marked so; `batchmill training mark` marks them")


def _listed(wanted: "Filter") -> "Filter":
    from dataclasses import replace

    return replace(wanted, or_verified=wanted.min_rating is not None and not wanted.verified_only)


def _for_people(shown: dict[str, Any]) -> dict[str, object]:
    columns = ("batch", "custom_id", "rating", "verified", "tags", "model", "by", "marked_at")
    row = {name.removesuffix("_at"): shown[name] for name in columns}
    return row | {"verified": "yes" if shown["verified"] else "no", "tags": " ".join(shown["tags"]) or None}


@training.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@format_option
@click.option("--validation", is_flag=True, help="It is a file for validation, which may have other limits.")
@json_option
def validate(file: Path, format_: str, validation: bool, as_json: bool) -> int:
    """Check a file by the rules of a vendor, as known to this version; nothing is sent.

    Every bad line is told, with its number and why. Exit status 1 if there is one, or the file as a whole would be
    refused. Needs no extra.
    """
    from dataclasses import asdict

    from batchmill.training.validate import Checked, bad_lines

    checked, found = Checked(), []
    for bad in bad_lines(file, Format(format_), checked, is_validation=validation):
        if as_json:
            found.append(asdict(bad))
        else:
            click.echo(f"line {bad.line}: {bad.message}" if bad.line else f"the file: {bad.message}")
            found.append({})
    if as_json:
        print_json(
            {
                "lines": checked.lines,
                "bad": checked.bad,
                "is_valid": not found,
                "faults": found[:SHOWN_FAULTS],
            }
        )
    told = f"{counted(checked.lines, 'example')}, {checked.bad:,} of them bad"
    narrate(
        f"{file}: {told}" if found else f"{file}: {counted(checked.lines, 'example')}, valid for {format_}"
    )
    return int(bool(found))
