"""`batchmill training mark`: which answers are good."""

import io
import os
import pwd
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchmill.errors import InputError, MisuseError
from batchmill.training.model import LEAST_RATING, MOST_RATING
from cli.home import home_option, opened_database
from cli.inputs import STDIN, standard_input, tell_bad_line
from cli.output import counted, json_option, narrate, print_json
from cli.text import Name, Text

if TYPE_CHECKING:
    from batchmill.training.marks import Mark


@click.command()
@click.argument("marks", metavar="[MARKS]", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--batch", type=Text(), default="", help="Whose answers: for lines that name no batch.")
@click.option("--custom-id", type=Text(), help="The line whose answer is meant, instead of a file.")
@click.option(
    "--rating",
    type=click.IntRange(LEAST_RATING, MOST_RATING),
    help="How good it is: 5 is best. From 4 on it is exported unless told otherwise.",
)
@click.option("--verified/--not-verified", default=None, help="Whether it was found to be right.")
@click.option(
    "--tag", "tags", multiple=True, type=Text(), help="What to find it by; takes the place of former tags."
)
@click.option("--by", type=Name(), help="Who says so.  [default: whoever runs this]")
@click.option("--remove", is_flag=True, help="Take the marks off.")
@home_option
@json_option
def mark(
    marks: Path | None,
    batch: str,
    custom_id: str | None,
    rating: int | None,
    verified: bool | None,
    tags: tuple[str, ...],
    by: str | None,
    remove: bool,
    home: Path | None,
    as_json: bool,
) -> None:
    """Say of answers that they are good, or not: by their lines, one or a file of them.

    MARKS is JSON lines, or CSV with a header; `-` is standard input. The fields are custom_id, batch, rating (0 to
    5), verified, tags; what a line leaves out is as the options say, or stays as it was. If a line cannot be followed,
    all such lines are told and nothing is marked.
    """
    from batchmill.training.marks import Mark, read_tags
    from batchmill.training.orders import Order, read_orders
    from workers import marking

    if (marks is None) == (custom_id is None):
        raise MisuseError(
            "which answers are meant?", "name a file of them, or one with --batch and --custom-id"
        )
    try:
        said = Mark(rating=rating, verified=verified, tags=read_tags(tags) if tags else None)
    except ValueError as error:
        raise MisuseError(f"--tag: {error}") from None
    _refuse(said, batch, custom_id, remove=remove)
    with opened_database(home) as database:
        source = nullcontext(None) if marks is None else _opened(marks)
        with source as stream:
            orders = (
                [Order(line=0, batch=batch, custom_id=custom_id or "", mark=said)]
                if stream is None
                else read_orders(stream, batch=batch, said=said)
            )
            done = marking.mark(
                database,
                orders,
                marked_by=_whoever() if by is None else by,
                is_removal=remove,
                on_bad_line=tell_bad_line,
            )
    if as_json:
        print_json({"named": done.named, "changed": done.changed, "removed": remove})
        return
    verb = "no longer marked" if remove else "marked"
    narrate(f"{counted(done.named, 'answer')} {verb}, {done.changed:,} of them anew")


def _refuse(said: "Mark", batch: str, custom_id: str | None, *, remove: bool) -> None:
    if custom_id is not None and not batch:
        raise MisuseError("--custom-id needs a batch", "name it with --batch; `batchmill list` shows them")
    if remove and not said.says_nothing:
        raise MisuseError("--remove takes marks off, and says nothing of answers", "leave out what is said")
    if custom_id is not None and not remove and said.says_nothing:
        raise MisuseError("nothing is said of it", "give --rating, --verified or --tag, or --remove")


def _opened(path: Path) -> Any:
    if path == STDIN:
        return nullcontext(_buffered(standard_input()))
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f'"{path}" cannot be read: {error.strerror}', "name a file of marks") from error


def _buffered(stream: Any) -> Any:
    return stream if hasattr(stream, "peek") else io.BufferedReader(stream)


def _whoever() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container there may be no such user
        return str(os.getuid())
