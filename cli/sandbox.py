"""`batchmill sandbox`: the providers' wires without the providers, without a key and without a model."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import click

from batchmill.sandbox.app import DRIP_S, Behaviour, Sandbox
from batchmill.sandbox.bill import DEFAULT_PRICE, Price
from batchmill.sandbox.faults import help_text
from batchmill.sandbox.files import CallLog, load_replies
from batchmill.sandbox.limits import WINDOW_S, Allowance, LimitRules
from batchmill.sandbox.server import Server, serve
from cli.sandbox_options import (
    FaultRate,
    Latency,
    Limit,
    Seconds,
    UsdPerMtok,
    read_allowance,
    read_rates,
)

_EPILOG = f"""\b
Faults, for `--fault NAME=RATE` or by the model `sandbox/NAME`:
{help_text()}

\b
The model `sandbox/flaky-N` meets a 500 on the first N calls of each prompt. `sandbox/refusal`,
`sandbox/filtered` and `sandbox/empty` answer so; `sandbox/cached` tells half its input as cached."""


@click.command(epilog=_EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8999, show_default=True, help="0 takes a free one."
)
@click.option(
    "--latency",
    "latency_s",
    type=Latency(),
    default="0",
    show_default=True,
    help="Seconds until an answer, or a range to draw from: 0.2-0.6.",
)
@click.option(
    "--fault",
    "fault_rates",
    type=FaultRate(),
    multiple=True,
    callback=read_rates,
    help="Share of calls that meet a fault: 500=0.01. Repeat it for more faults.",
)
@click.option(
    "--drip-time",
    "drip_s",
    type=Seconds(),
    default=DRIP_S,
    show_default=True,
    help="How long a dripping answer takes.",
)
@click.option(
    "--rpm",
    type=Limit(),
    multiple=True,
    callback=read_allowance,
    help="Requests a minute for each model; gpt-4o=500 for one. Repeat it for more models.",
)
@click.option(
    "--tpm",
    type=Limit(),
    multiple=True,
    callback=read_allowance,
    help="Tokens a minute, as the wire counts them: OpenAI's with max_tokens; otherwise as --rpm.",
)
@click.option(
    "--itpm",
    type=Limit(),
    multiple=True,
    callback=read_allowance,
    help="Input tokens a minute, for Anthropic's wire alone; otherwise as --rpm.",
)
@click.option(
    "--otpm",
    type=Limit(),
    multiple=True,
    callback=read_allowance,
    help="Output tokens a minute, as answered, for Anthropic's wire alone; otherwise as --rpm.",
)
@click.option(
    "--window",
    "window_s",
    type=Seconds(),
    default=WINDOW_S,
    show_default=True,
    help="How long a call counts towards --rpm, --tpm, --itpm and --otpm; 2 lets one watch it.",
)
@click.option("--per-second", is_flag=True, help="Hold each second to its share of --rpm as well.")
@click.option("--forgive-refused", is_flag=True, help="Do not count calls that were refused for a limit.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the latencies and the faults drawn.")
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
    type=UsdPerMtok(),
    default=DEFAULT_PRICE,
    show_default="0.15/0.60",
    help="USD per million tokens of models the sandbox has no price for.",
)
def sandbox(
    host: str,
    port: int,
    latency_s: tuple[float, float],
    fault_rates: Mapping[str, float],
    drip_s: float,
    rpm: Allowance,
    tpm: Allowance,
    itpm: Allowance,
    otpm: Allowance,
    window_s: float,
    per_second: bool,
    forgive_refused: bool,
    seed: int,
    replies: Path | None,
    log_path: Path | None,
    default_price: Price,
) -> None:
    """Serve OpenAI's, Anthropic's and Gemini's APIs on this machine, without a key, a cost or a model.

    The five endpoints of a batch are answered with texts that say that no model made them, or with replies
    from a file. Set OPENAI_BASE_URL to the address printed on stdout; Anthropic's and Gemini's clients want it
    without /v1, and any key. GET /sandbox/bill tells what it would have charged; input tokens are words, output
    tokens bytes over four. POST /sandbox/faults changes the faults while it runs. Ctrl-C stops it.
    """
    if per_second and not rpm:
        raise click.UsageError("--per-second needs --rpm")
    if forgive_refused and not (rpm or tpm or itpm or otpm):
        raise click.UsageError("--forgive-refused needs --rpm, --tpm, --itpm or --otpm")
    behaviour = Behaviour(
        latency_s=latency_s,
        seed=seed,
        fault_rates=fault_rates,
        drip_s=drip_s,
        limits=LimitRules(
            rpm=rpm,
            tpm=tpm,
            itpm=itpm,
            otpm=otpm,
            window_s=window_s,
            per_second=per_second,
            forgive_refused=forgive_refused,
        ),
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
