"""`batchmill estimate`: what one request costs."""

import sys
from pathlib import Path
from typing import Any

import click

from batchmill.errors import InputError, MisuseError
from batchmill.requests.model import BatchOptions, Endpoint
from cli.home import home_option, settings_at
from cli.output import json_option
from cli.text import Name, Text


@click.command()
@click.argument(
    "body_path", metavar="[BODY]", required=False, type=click.Path(path_type=Path, allow_dash=True)
)
@click.option(
    "--model",
    "models",
    type=Text(),
    multiple=True,
    help="MODEL (OpenAI's), PROVIDER/MODEL, or auto; more of them are compared.",
)
@click.option("--prompt", type=Text(), help="What to ask, instead of a body.")
@click.option("--system-prompt", type=Text(), default="", help="What goes before the prompt.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer to the prompt.")
@click.option(
    "--endpoint",
    type=click.Choice([endpoint.value for endpoint in Endpoint]),
    help="Where it goes.  [default: as the body has it; /v1/chat/completions]",
)
@click.option("--type", "request_type", type=Name(), default="", help="Kind of question.")
@home_option
@json_option
def estimate(
    body_path: Path | None,
    models: tuple[str, ...],
    prompt: str | None,
    system_prompt: str,
    max_tokens: int | None,
    endpoint: str | None,
    request_type: str,
    home: Path | None,
    as_json: bool,
) -> None:
    """Show what one request costs; nothing is sent.

    BODY is a file with the JSON of a request, or a line of a batch; `-` is standard input. Several models are
    compared, cheapest first.
    """
    from batchmill.quotes.single import compose_request
    from cli.quote_output import show_estimates
    from workers.assembly import seen_database
    from workers.quoting import Quoter

    if (body_path is None) == (prompt is None):
        raise MisuseError("what is to be asked?", "give --prompt TEXT, or a file with the body of a request")
    if body_path is not None and (system_prompt or max_tokens):
        raise MisuseError("--system-prompt and --max-tokens go with --prompt", "put them into the body")
    settings = settings_at(home)
    if prompt is not None:
        asked = Endpoint(endpoint) if endpoint else Endpoint.CHAT
        body = compose_request(
            asked,
            prompt,
            system_prompt=system_prompt,
            max_tokens=max_tokens,
            named=lambda name: f"--{name.replace('_', '-')}",
        )
    else:
        assert body_path is not None
        asked, body = _read(body_path, endpoint, settings.input.max_line_bytes)
    own = body.get("model")
    wanted = models or ((own,) if isinstance(own, str) and own else ())
    if not wanted:
        raise MisuseError("nothing says which model to ask", "name it with --model")
    database = seen_database(settings)
    try:
        options = BatchOptions(request_type=request_type)
        quotes = Quoter.of(settings, database).request(asked, body, wanted, options)
    finally:
        if database is not None:
            database.close()
    show_estimates(quotes, as_json=as_json)


def _read(path: Path, endpoint: str | None, most_bytes: int) -> tuple[Endpoint, dict[str, Any]]:
    """The endpoint and the body of a request in a file."""
    import orjson

    from batchmill.quotes.single import read_request

    name = "standard input" if path == Path("-") else f'"{path}"'
    try:
        raw = sys.stdin.buffer.read(most_bytes + 1) if path == Path("-") else path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{name} cannot be read: {error.strerror}", "check its name and its permissions"
        ) from error
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{name} is no JSON: {error}", "`batchmill quote` takes files of many") from None
    return read_request(name, body, endpoint)
