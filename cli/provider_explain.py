"""`batchmill providers explain`: who would answer a request and why, or what has become of one."""

import re
from pathlib import Path

import click

from batchmill.errors import MisuseError
from batchmill.requests.model import BatchOptions
from batchmill.routing.wants import dump_wants
from batchmill.settings import Settings
from cli.home import home_option, settings_at
from cli.inputs import InputArguments, RoutingArguments, reads_request, takes_routing, tell_bad_line
from cli.output import json_option

_OF_BATCH = re.compile(r"(latest|(?:batch_)?[0-9a-f]{6,24}):(.+)", re.DOTALL)


@click.command()
@reads_request
@click.option(
    "--line",
    type=click.IntRange(1),
    metavar="N",
    help="The request on this line of the file.  [default: the first]",
)
@takes_routing
@home_option
@json_option
def explain(
    given: InputArguments, line: int | None, routing: RoutingArguments, home: Path | None, as_json: bool
) -> int:
    """Show who would answer a request and why, or what has become of one.

    REQUEST is a file of requests, read as `batchmill run` reads it (`-` is standard input), or BATCH:CUSTOM_ID, a
    line of a batch (`latest:q1`). Of a file's request it shows who would be asked now, who stands by, and why the
    others are out; of a batch's line its calls and its path as well. Nobody is asked. Limits, budgets and the cache
    are not looked at. Exit status 1 if nobody can answer it, or it has ended without an answer.
    """
    settings = settings_at(home)
    of_batch = None if given.input_path.exists() else _OF_BATCH.fullmatch(str(given.input_path))
    if of_batch is None:
        return _explain_line(settings, given, line, routing, as_json)
    if line is not None or given.model or routing != _NO_ROUTING:
        raise MisuseError(
            f"{given.input_path} is a line of a batch, which has a model and options of its own",
            "leave out --line, --model and the options for choosing one",
        )
    return _explain_request(settings, of_batch[1], of_batch[2], as_json)


_NO_ROUTING = RoutingArguments(
    request_type="",
    fallback=(),
    quality=None,
    deep_reasoning=False,
    complexity=None,
    user_tier=None,
    max_latency_s=None,
)


def _explain_line(
    settings: Settings, given: InputArguments, line: int | None, routing: RoutingArguments, as_json: bool
) -> int:
    from cli.explain_output import show_line
    from workers.assembly import existing_database
    from workers.explaining import Explainer

    source = given.open(settings, makes_home=False)
    options = BatchOptions(request_type=routing.request_type, routing=dump_wants(routing.wants()))
    database = existing_database(settings)
    try:
        found = Explainer.of(settings, database).line(source, line, options, on_bad_line=tell_bad_line)
    finally:
        database.close()
        source.release()
    show_line(found, source.name, as_json)
    return 0 if found.can_be_answered else 1


def _explain_request(settings: Settings, batch: str, custom_id: str, as_json: bool) -> int:
    from cli.batch import open_batch
    from cli.explain_output import show_history
    from workers.explaining import Explainer

    with open_batch(settings, batch) as (database, row):
        found = Explainer.of(settings, database).request(row, custom_id)
    show_history(found, as_json)
    return 0 if found.can_be_answered else 1
