"""How the fields of a catalogue entry are written on the command line."""

import re
from collections.abc import Callable
from typing import Any

import click

from batchmill.catalogue.entries import Capability, Tier, parse_name
from batchmill.catalogue.prices import price_nanos
from batchmill.errors import MisuseError
from batchmill.routing.names import MOST_FALLBACKS
from cli.text import ModelName

MOST_TOKENS = 1_000_000_000
MOST_LATENCY_MS = 86_400_000
_QUALITY = re.compile(r"0?\.[0-9]{1,9}|0|1|1\.0{1,9}")


class Name(click.ParamType[tuple[str, str]]):
    """PROVIDER/MODEL; becomes the two."""

    name = "PROVIDER/MODEL"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        try:
            return value if isinstance(value, tuple) else parse_name(value)
        except MisuseError as error:
            raise click.BadParameter(f"{error.message}; {error.hint}", ctx, param) from None


class Price(click.ParamType[int]):
    """US dollars as plain decimals; becomes nano-dollars."""

    name = "USD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else price_nanos(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None


class Quality(click.ParamType[float]):
    """From 0 to 1."""

    name = "0-1"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, float) and not _QUALITY.fullmatch(value):
            raise click.BadParameter(f"{value[:40]!r} is not from 0 to 1, as in 0.8", ctx, param)
        return float(value)


class Capabilities(click.ParamType[frozenset[Capability]]):
    """Words with commas between."""

    name = "WORDS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> frozenset[Capability]:
        if isinstance(value, frozenset):
            return value
        words = [word.strip() for word in value.split(",")]
        unknown = [word for word in words if word not in set(Capability)]
        if unknown:
            raise click.BadParameter(
                f"{unknown[0][:40]!r} is no capability; there are {', '.join(Capability)}", ctx, param
            )
        return frozenset(map(Capability, words))


tier_choice = click.Choice([tier.value for tier in Tier])

_ENTRY_OPTIONS = (
    click.option("--input-price", "input_nanos_per_mtok", type=Price(), help="Per million input tokens."),
    click.option("--output-price", "output_nanos_per_mtok", type=Price(), help="Per million output tokens."),
    click.option(
        "--cached-input-price",
        "cached_input_nanos_per_mtok",
        type=Price(),
        help="Per million input tokens read from the provider's cache.  [default: as input]",
    ),
    click.option(
        "--request-price", "nanos_per_request", type=Price(), help="Per call, besides the tokens or alone."
    ),
    click.option("--quality", type=Quality(), help="Your estimate."),
    click.option(
        "--latency-ms",
        type=click.IntRange(1, MOST_LATENCY_MS),
        metavar="MS",
        help="Typical time of a whole answer.",
    ),
    click.option(
        "--context",
        "context_tokens",
        type=click.IntRange(1, MOST_TOKENS),
        metavar="TOKENS",
        help="Most tokens of request and answer together.",
    ),
    click.option(
        "--max-output",
        "output_cap_tokens",
        type=click.IntRange(1, MOST_TOKENS),
        metavar="TOKENS",
        help="Most tokens of an answer.",
    ),
    click.option(
        "--capabilities",
        type=Capabilities(),
        help=f"Commas between: {', '.join(Capability)}; text if a new model is given none.",
    ),
    click.option(
        "--fallback",
        multiple=True,
        type=ModelName(),
        help="Whom to ask when it does not answer and the request names nobody; several are asked in this order,"
        f" {MOST_FALLBACKS} at most.",
    ),
    click.option("--notes", metavar="TEXT", help="For yourself."),
)


def entry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that fill an entry's fields, its tier aside."""
    for option in reversed(_ENTRY_OPTIONS):
        command = option(command)
    return command
