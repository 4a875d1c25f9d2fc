"""What every command that takes requests in is asked: how to read them, and whose batch they are.

`reads_input` and `takes_batch` add the options to a command and hand it one object instead of twenty words.
"""

import functools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from batchmill.budgets.model import OnLimit
from batchmill.catalogue.entries import Tier
from batchmill.errors import InputError
from batchmill.requests.model import BatchOptions, CacheMode, Endpoint, Lane, LineError, OnUnknown
from batchmill.requests.shape import InputFormat, InputShape
from batchmill.requests.source import InputFile, SpooledInput
from batchmill.routing.complexity import Complexity
from batchmill.routing.names import Target
from batchmill.routing.wants import Quality, Wants, dump_wants
from batchmill.settings import Settings
from cli.budget_options import Limit, on_limit_choice
from cli.output import narrate
from cli.text import ModelName, Name, Text

STDIN = Path("-")
LOCAL_TENANT = BatchOptions().tenant

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputArguments:
    """INPUT and how it is read, as given."""

    input_path: Path
    input_format: str
    prompt: str
    prompt_column: str
    id_column: str
    system_prompt: str
    model: str
    endpoint: str | None

    @property
    def is_stdin(self) -> bool:
        """Whether the requests come from standard input."""
        return self.input_path == STDIN

    def shape(self) -> InputShape:
        """How it is to be read."""
        return InputShape(
            format=InputFormat(self.input_format),
            endpoint=Endpoint(self.endpoint) if self.endpoint else None,
            model=self.model,
            prompt=self.prompt,
            prompt_column=self.prompt_column,
            id_column=self.id_column,
            system_prompt=self.system_prompt,
        )

    def defaulting(self, model: str) -> "InputArguments":
        """The same with a model for lines without one, unless one is given."""
        return replace(self, model=self.model or model)

    def open(self, settings: Settings, *, makes_home: bool = True) -> InputFile:
        """The input, ready to be read as often as needed; standard input is kept under the home meanwhile.

        Args:
            makes_home: False keeps it among the system's temporary files as long as there is no home.

        Raises:
            InputError: It is not there, empty, or cannot be kept.
            MisuseError: It cannot be read in the way that is asked for.
        """
        limit = settings.input.max_line_bytes
        if not self.is_stdin:
            return InputFile(self.input_path, self.shape(), max_line_bytes=limit)
        folder = settings.home / "run"
        if not makes_home and not folder.is_dir():
            folder = Path(tempfile.gettempdir())
        return SpooledInput(standard_input(), folder, self.shape(), max_line_bytes=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingArguments:
    """What the choice of a model goes by, as given."""

    request_type: str
    fallback: tuple[Target, ...]
    quality: str | None
    deep_reasoning: bool
    complexity: str | None
    user_tier: str | None
    max_latency_s: float | None

    def wants(self) -> Wants:
        """What the lines want of routing, unless they say so themselves."""
        return Wants(
            fallback=self.fallback,
            quality=Quality(self.quality) if self.quality else None,
            deep_reasoning=True if self.deep_reasoning else None,
            complexity=Complexity(self.complexity) if self.complexity else None,
            user_tier=Tier(self.user_tier) if self.user_tier else None,
            max_latency_ms=None if self.max_latency_s is None else round(self.max_latency_s * 1000),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArguments(RoutingArguments):
    """Whose batch it is and how it is answered, as given."""

    priority: str
    cache: str
    on_unknown: str
    job_name: str
    tenant: str
    user: str
    agent: str
    deadline: str | None
    budget: int | None
    on_budget: str | None

    def options(self, settings: Settings) -> BatchOptions:
        """What the batch is to be."""
        return BatchOptions(
            lane=Lane(self.priority),
            cache=CacheMode(self.cache),
            on_unknown=OnUnknown(self.on_unknown),
            job_name=self.job_name,
            request_type=self.request_type,
            tenant=self.tenant or LOCAL_TENANT,
            user=self.user,
            agent=self.agent,
            budget_nanos=self.budget,
            on_budget=OnLimit(self.on_budget) if self.on_budget else None,
            routing=dump_wants(self.wants()),
        )

    def deadline_ms(self, now_ms: int) -> int | None:
        """Until when it may make calls; None = for ever.

        Raises:
            MisuseError: What is given is no time.
        """
        from batchmill.requests.deadline import parse_deadline

        return parse_deadline(self.deadline, now_ms) if self.deadline is not None else None


def standard_input() -> Any:
    """The bytes of standard input; a person at a terminal is told that they are waited for."""
    if sys.stdin is None:
        raise InputError("there is no standard input", "name a file")
    if sys.stdin.isatty():
        narrate("reading standard input; end it with Ctrl-D")
    return sys.stdin.buffer


def tell_bad_line(bad: LineError) -> None:
    """Tell what is wrong with a line, and which."""
    where = "input" if bad.line is None else f"line {bad.line}"
    param = f" ({bad.param})" if bad.param else ""
    narrate(f"{where}: {bad.code}{param}: {bad.message}")


dry_run_option: Callable[[Command], Command] = click.option(
    "--dry-run",
    is_flag=True,
    help="Only show what it will cost, as `batchmill quote` does; status 1 if that fits no budget.",
)


def reads_input(command: Command) -> Command:
    """Add INPUT and the options that say how it is read; the command gets `given: InputArguments`."""
    return _collecting(command, "given", InputArguments, _INPUT)


def reads_request(command: Command) -> Command:
    """Add REQUEST, which may be read as any INPUT is; the command gets `given: InputArguments`."""
    return _collecting(command, "given", InputArguments, (_input_argument("REQUEST"), *_READING))


def takes_routing(command: Command) -> Command:
    """Add the options by which a model is chosen; the command gets `routing: RoutingArguments`."""
    return _collecting(command, "routing", RoutingArguments, (_TYPE, *_ROUTING))


def takes_batch(command: Command) -> Command:
    """Add the options of a batch; the command gets `batch: BatchArguments`."""
    return _collecting(command, "batch", BatchArguments, _BATCH)


def _collecting(
    command: Command, name: str, kind: type[Any], parameters: tuple[Callable[[Command], Command], ...]
) -> Command:
    @functools.wraps(command)
    def collecting(**words: Any) -> Any:
        own = {field.name: words.pop(field.name) for field in fields(kind)}
        return command(**{name: kind(**own)}, **words)

    collected: Command = collecting
    for parameter in reversed(parameters):
        collected = parameter(collected)
    return collected


def _input_argument(metavar: str) -> Callable[[Command], Command]:
    return click.argument("input_path", metavar=metavar, type=click.Path(path_type=Path, allow_dash=True))


_READING = (
    click.option(
        "--format",
        "input_format",
        type=click.Choice([kind.value for kind in InputFormat]),
        default="auto",
        show_default=True,
        help="What the lines are: auto = by the name's ending and the first line.",
    ),
    click.option(
        "--prompt",
        type=Text(),
        default="",
        help='The prompt for a row: "Summarise {text}", {text} being a column.',
    ),
    click.option(
        "--prompt-column", type=Text(), default="", help="The column that is the prompt.  [default: prompt]"
    ),
    click.option(
        "--id-column",
        type=Text(),
        default="",
        help="The column that names a row.  [default: id, else its number]",
    ),
    click.option("--system-prompt", type=Text(), default="", help="For lines without one."),
    click.option(
        "--model",
        type=Text(),
        default="",
        help="For lines without one: MODEL (OpenAI's), PROVIDER/MODEL, or auto.",
    ),
    click.option(
        "--endpoint",
        type=click.Choice([endpoint.value for endpoint in Endpoint]),
        help="Where the prompts go.  [default: /v1/chat/completions]",
    ),
)
_INPUT = (_input_argument("INPUT"), *_READING)
_TYPE = click.option(
    "--type", "request_type", type=Name(), default="", help="Kind of question, for lines that name none."
)
_ROUTING = (
    click.option(
        "--fallback",
        multiple=True,
        type=ModelName(),
        help="Whom to ask when the model does not answer; several are asked in this order.",
    ),
    click.option(
        "--quality",
        type=click.Choice([quality.value for quality in Quality]),
        help="For model auto: the best models only.",
    ),
    click.option(
        "--deep-reasoning",
        is_flag=True,
        help="For model auto: the best models that think before they answer.",
    ),
    click.option(
        "--complexity",
        type=click.Choice([complexity.value for complexity in Complexity]),
        help="For model auto: how hard the questions are.  [default: guessed from each]",
    ),
    click.option(
        "--user-tier",
        type=click.Choice([tier.value for tier in Tier]),
        help="For model auto: the highest tier that their user may have.",
    ),
    click.option(
        "--max-latency",
        "max_latency_s",
        type=click.FloatRange(0.001, 86_400),
        help="For model auto: the longest that an answer may typically take, in seconds.",
    ),
)
_BATCH = (
    click.option(
        "--priority",
        type=click.Choice([lane.value for lane in Lane]),
        default="normal",
        show_default=True,
        help="Which lane.",
    ),
    click.option(
        "--cache",
        type=click.Choice([mode.value for mode in CacheMode]),
        default="auto",
        show_default=True,
        help="When an answer given before is used again: auto = unless the request asks for variety.",
    ),
    click.option(
        "--on-unknown",
        type=click.Choice([way.value for way in OnUnknown]),
        default="retry",
        show_default=True,
        help="What to do about a call that may have been billed without an answer: ask again, or fail the line.",
    ),
    click.option("--job-name", type=Name(), default="", help="What to call it in lists and reports."),
    _TYPE,
    click.option(
        "--tenant", type=Name(), default=LOCAL_TENANT, show_default=True, help="Who shares workers and cache."
    ),
    click.option("--user", type=Name(), default="", help="Who asks, for the books."),
    click.option("--agent", type=Name(), default="", help="Which program asks, for the books."),
    click.option(
        "--deadline",
        metavar="TIME",
        help="No call after this: a time from now (90s, 30m, 2h, 1d) or a moment with its zone.",
    ),
    click.option("--budget", type=Limit(), help="Most US dollars that this batch may cost."),
    click.option(
        "--on-budget",
        type=on_limit_choice,
        help="At the limit of any budget: wait, fail the rest, or ask cheaper models.  [default: as the budget says]",
    ),
    *_ROUTING,
)
