"""`batchmill training export`: good answers, written for fine-tuning."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchmill.errors import MisuseError
from batchmill.training.model import Format, Wish
from cli.home import home_option, settings_at
from cli.output import counted, json_option, narrate, print_json, print_table
from cli.training import chooses_marks, chosen, format_option

if TYPE_CHECKING:
    from batchmill.training.export import Exported, Tally

OFF = "off"
SHOWN_EVERY_S = 0.2


class Similarity(click.ParamType[float | None]):
    """From which similarity on; `off` is None."""

    name = "similarity"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value is None or value == OFF:
            return None
        try:
            similarity = float(value)
        except ValueError:
            similarity = -1.0
        if not 0.1 <= similarity <= 1:
            self.fail(f"{value!a} is neither a number from 0.1 to 1 nor off.", param, ctx)
        return similarity


class Shares(click.ParamType[float]):
    """How conversations are shared out: TRAIN/VALIDATION; the first of them."""

    name = "train/validation"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            train, validation = (float(share) for share in str(value).split("/"))
        except ValueError:
            train = validation = -1.0
        if not (0 < train <= 1 and 0 <= validation < 1 and abs(train + validation - 1) < 1e-9):
            self.fail(f"{value!a} is no two shares that come to 1, such as 0.9/0.1 or 1/0.", param, ctx)
        return train


@click.command()
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The folder that it is written to."
)
@format_option
@chooses_marks
@click.option(
    "--redact/--no-redact",
    default=True,
    show_default=True,
    help="Replace what is somebody's by placeholders.",
)
@click.option(
    "--near-duplicates",
    "near",
    type=Similarity(),
    default="0.9",
    show_default=True,
    help="From which similarity on only the best of several examples is taken; off = only the same.",
)
@click.option(
    "--split", type=Shares(), default="0.9/0.1", show_default=True, help="Shares for training and validation."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Another one splits otherwise."
)
@home_option
@json_option
def export(
    output: Path,
    format_: str,
    redact: bool,
    near: float | None,
    split: float,
    seed: int,
    home: Path | None,
    as_json: bool,
    **which: Any,
) -> None:
    """Write good answers with their questions, for fine-tuning: train.jsonl, validation.jsonl, manifest.json.

    Good is what is verified or rated 4 or better, unless --min-rating or --verified-only says otherwise; only whole
    answers of chats (of completions into the format completion). What is left out is counted in the manifest, with the
    reason. From the same marks comes the same folder, byte for byte. Redaction finds patterns and misses names,
    addresses and whatever is told in words: read before you upload. Needs the extra `training`.
    """
    from db.marks import Filter
    from workers.assembly import existing_database
    from workers.training import export_to, source_of

    if str(output) == "-":
        raise MisuseError("an export is a folder, and no stream", "name a folder")
    settings = settings_at(home)
    database = existing_database(settings)
    given = {name: value for name, value in which.items() if value is not None and value is not False}
    try:
        wish = Wish(
            format=Format(format_),
            redact=redact,
            near=near,
            train_share=split,
            seed=seed,
            filters=given,
            source=source_of(database),
        )
        wanted = Filter.good(**chosen(database, **which))
        with _Progress() as progress:
            done = export_to(settings, database, output, wish, wanted, progress=progress.show)
    finally:
        database.close()
    if as_json:
        print_json(done.manifest | {"folder": str(output), "is_new": done.is_new})
    else:
        _tell(done, output)


class _Progress:
    """How far it is, in one line of a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._at = time.monotonic()

    def __enter__(self) -> "_Progress":
        return self

    def show(self, tally: "Tally") -> None:
        """Show it now and then."""
        now = time.monotonic()
        if self._is_shown and now - self._at >= SHOWN_EVERY_S:
            self._at = now
            left_out = tally.left_out.total()
            click.echo(
                f"\r\033[K{tally.answers:,} answers · {tally.examples:,} examples · {left_out:,} left out",
                nl=False,
                err=True,
            )

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            click.echo("\r\033[K", nl=False, err=True)


def _tell(done: "Exported", output: Path) -> None:
    from batchmill.training.model import MEANINGS

    tally = done.tally
    for reason, times in sorted(tally.left_out.items()):
        narrate(f"left out: {times:,} ({reason}: {MEANINGS[reason]})")
    print_table(
        [
            {"file": name, "examples": facts["lines"], "bytes": facts["bytes"], "sha256": facts["sha256"]}
            for name, facts in done.manifest["files"].items()
        ]
    )
    if tally.redactions:
        found = ", ".join(f"{times:,} {kind}" for kind, times in sorted(tally.redactions.items()))
        narrate(f"redacted: {found}; names, addresses and what is told in words are not found")
    for warning in done.warnings:
        narrate(f"warning: {warning}")
    state = "" if done.is_new else "; nothing has changed"
    narrate(
        f"{counted(tally.examples, 'example')} of {counted(tally.answers, 'marked answer')}: {output}{state}"
    )
