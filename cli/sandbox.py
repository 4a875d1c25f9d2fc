"""`batchmill sandbox`: OpenAI's wire without OpenAI, without a key and without a model."""

import asyncio
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from batchmill.sandbox.app import Behaviour, Sandbox
from batchmill.sandbox.bill import DEFAULT_PRICE, Price, price
from batchmill.sandbox.faults import help_text
from batchmill.sandbox.files import CallLog, load_replies
from batchmill.sandbox.server import Server, serve

_EPILOG = "\b\nA model's name asks for a fault; any other model is answered:\n" + help_text()


class _Latency(click.ParamType[tuple[float, float]]):
    """Seconds: one number, or the shortest and longest with a dash between."""

    name = "seconds"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """The shortest and the longest."""
        shortest, dash, longest = str(value).partition("-")
        try:
            latency = float(shortest), float(longest if dash else shortest)
        except ValueError:
            self.fail(f'"{value}" is neither seconds nor a range such as 0.2-0.6', param, ctx)
        if not 0.0 <= latency[0] <= latency[1] < 86_400.0:
            self.fail(f'"{value}" does not go from fewer to more seconds', param, ctx)
        return latency


class _UsdPerMtok(click.ParamType[Price]):
    """Dollars per million tokens: input, slash, output."""

    name = "in/out"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Price:
        """The price."""
        if isinstance(value, Price):
            return value
        try:
            input_, _, output = str(value).partition("/")
            read = price(input_, output)
        except InvalidOperation:
            self.fail(f'"{value}" is no price such as 0.15/0.60', param, ctx)
        if not all(
            p.is_finite() and Decimal(0) <= p for p in (read.input_usd_per_mtok, read.output_usd_per_mtok)
        ):
            self.fail(f'"{value}" is no price such as 0.15/0.60', param, ctx)
        return read


@click.command(epilog=_EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8999, show_default=True, help="0 takes a free one."
)
@click.option(
    "--latency",
    "latency_s",
    type=_Latency(),
    default="0",
    show_default=True,
    help="Seconds until an answer, or a range to draw from: 0.2-0.6.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the latencies drawn.")
@click.option(
    "--replies",
    type=click.Path(path_type=Path),
    help="JSONL with `question` and `reply`: replayed when the last user message is the question.",
)
@click.option(
    "--log", "log_path", type=click.Path(path_type=Path), help="JSONL, one line per call, before its answer."
)
@click.option(
    "--price",
    "default_price",
    type=_UsdPerMtok(),
    default=DEFAULT_PRICE,
    show_default="0.15/0.60",
    help="USD per million tokens of models the sandbox has no price for.",
)
def sandbox(
    host: str,
    port: int,
    latency_s: tuple[float, float],
    seed: int,
    replies: Path | None,
    log_path: Path | None,
    default_price: Price,
) -> None:
    """Serve OpenAI's API on this machine, without a key, a cost or a model.

    The five endpoints of a batch are answered with texts that say that no model made them, or with replies
    from a file. Set OPENAI_BASE_URL to the address printed on stdout. GET /sandbox/bill tells what it would
    have charged; token counts are bytes over four. Ctrl-C stops it.
    """
    behaviour = Behaviour(
        latency_s=latency_s,
        seed=seed,
        replies=load_replies(replies) if replies else {},
        default_price=default_price,
    )
    log = CallLog(log_path) if log_path else None
    try:
        asyncio.run(serve(Server(Sandbox(behaviour, log), host, port), _announce))
    finally:
        if log is not None:
            log.close()


def _announce(base_url: str) -> None:
    click.echo(f"batchmill sandbox, not a model: answering on {base_url} until Ctrl-C", err=True)
    click.echo(base_url)
