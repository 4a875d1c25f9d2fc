"""`batchmill tokens`: how many tokens an input is, before anything is asked."""

from pathlib import Path
from typing import Any

import click

from batchmill.errors import InvalidLinesError
from batchmill.requests.model import told_bad
from cli.home import settings_at
from cli.inputs import InputArguments, reads_input, tell_bad_line
from cli.output import json_option, print_json, print_table
from cli.text import Text

TOTAL = "(all)"


@click.command()
@reads_input
@click.option("--as", "as_model", type=Text(), default="", help="Count every line as for this model.")
@click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), help="Where standard input is kept meanwhile."
)
@json_option
def tokens(given: InputArguments, as_model: str, home: Path | None, as_json: bool) -> None:
    """Count the input tokens of a file of requests, by model.

    Needs no key and no network. Exact for text of OpenAI's models; what is an estimate says so: other vendors'
    models, tools, images, chats of gpt-5 and the o-series. Answers are not in it: nobody knows them yet.
    """
    from batchmill.tokens.survey import Tally, survey

    source = given.defaulting(as_model).open(settings_at(home))
    try:
        tallies, bad = survey(source.lines(), on_bad_line=tell_bad_line, model=as_model)
    finally:
        source.release()
    if bad:
        raise InvalidLinesError(f"{told_bad(bad)} not valid; nothing was counted", "correct the input first")
    total = Tally()
    for tally in tallies.values():
        total.add(lines=tally.lines, tokens=tally.tokens, is_exact=tally.is_exact)
    rows = [{"model": model} | _row(tally) for model, tally in tallies.items()]
    if as_json:
        print_json({"rows": rows, "total": _row(total)})
    else:
        print_table([_in_words(row) for row in [*rows, {"model": TOTAL} | _row(total)]])


def _row(tally: Any) -> dict[str, Any]:
    return {"lines": tally.lines, "tokens": tally.tokens, "is_exact": tally.is_exact}


def _in_words(row: dict[str, Any]) -> dict[str, Any]:
    count = "exact" if row["is_exact"] else "estimate"
    return {"model": row["model"], "lines": row["lines"], "tokens": row["tokens"], "count": count}
