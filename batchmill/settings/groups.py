"""All that can be set from outside, in small frozen groups: variable, default, meaning and bounds of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from pathlib import Path
from typing import Annotated

from pydantic import PrivateAttr
from pydantic.fields import FieldInfo

from batchmill.budgets.limits import limit_nanos
from batchmill.budgets.model import Period
from batchmill.providers.names import ProviderName
from batchmill.requests.jsonl import DEFAULT_MAX_LINE_BYTES, MAX_LINE_VARIABLE, MB
from batchmill.settings.alerts import MailSettings, WebhookSettings
from batchmill.settings.client import ClientSettings
from batchmill.settings.contact import DEFAULT_HOME, HOME_VARIABLE
from batchmill.settings.fields import (
    AbsolutePath,
    BrokerUrl,
    DatabaseUrl,
    ExistingFile,
    FailpointText,
    Folder,
    Group,
    LowerCase,
    UsdLimit,
    ZoneName,
    as_text,
    choice,
    masked,
    seconds,
    setting,
    variables_of,
    whole,
)
from batchmill.settings.flower import FlowerSettings
from batchmill.settings.health import HealthSettings
from batchmill.settings.metrics import MetricsSettings
from batchmill.settings.providers import (
    AnthropicSettings,
    GeminiSettings,
    LocalSettings,
    OpenAISettings,
    OpenRouterSettings,
    ProviderSettings,
)
from batchmill.settings.retention import RetentionSettings
from batchmill.settings.schedules import ScheduleSettings
from batchmill.settings.secrets_file import SECRETS_VARIABLE
from batchmill.settings.service import ServiceSettings
from batchmill.settings.traces import TraceSettings
from batchmill.settings.training import PrivacySettings, TrainingSettings

_USD_LIMIT = "US dollars as plain decimals: 5 or 5.00"


class Source(StrEnum):
    """Where a value in force comes from."""

    DEFAULT = "default"
    DOTENV = ".env"
    SECRETS = "secrets file"
    ENVIRONMENT = "environment"


class LogLevel(StrEnum):
    """The least severe event that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """For people, or for machines."""

    CONSOLE = "console"
    JSON = "json"


class DatabaseSettings(Group):
    """Where requests, answers and money are kept."""

    url: DatabaseUrl = setting(
        "sqlite:///batchmill.db",  # load_settings puts the one in the home here
        "DATABASE_URL",
        meaning="The database; by default SQLite in the home.",
        accepts="postgresql://user:password@host/name or sqlite:////absolute/path",
        repr=False,
    )

    wait_s: float = seconds(
        30.0, "BATCHMILL_DATABASE_WAIT_S", "How long SQLite's write lock is waited for.", least=0.1
    )

    @property
    def is_embedded(self) -> bool:
        """True for SQLite, which only processes of one machine can share."""
        return self.url.startswith("sqlite:")

    @property
    def path(self) -> Path | None:
        """SQLite's file; None for a server."""
        return Path(self.url.removeprefix("sqlite:///").partition("?")[0]) if self.is_embedded else None


class BrokerSettings(Group):
    """What carries the doorbells between processes."""

    url: BrokerUrl | None = setting(
        None,
        "BROKER_URL",
        "REDIS_URL",
        meaning="Celery's broker; REDIS_URL if not set, else an embedded one in the home.",
        accepts="redis://, rediss://, redis+socket://, amqp:// or amqps:// and a host",
        repr=False,
    )

    @property
    def is_embedded(self) -> bool:
        """True when batchmill starts a broker of its own."""
        return self.url is None


class LimitSettings(Group):
    """Where processes share what providers let through."""

    url: BrokerUrl | None = setting(
        None,
        "BATCHMILL_LIMITS_URL",
        "REDIS_URL",
        meaning="Redis or Valkey in which workers share rate limits; the broker if not set.",
        accepts="redis://, rediss:// or redis+socket:// and a host",
        repr=False,
    )


class WorkerSettings(Group):
    """How the work is done on this machine."""

    concurrency: int = whole(
        64,
        "BATCHMILL_CONCURRENCY",
        "Calls in flight: in each process of a worker, in all of a run.",
        most=10_000,
    )
    processes: int = whole(1, "BATCHMILL_WORKERS", "Worker processes on this machine.", most=256)
    lease_s: float = seconds(15.0, "BATCHMILL_LEASE_S", "How long a claim outlives its worker.", least=1.0)
    grace_s: float = seconds(
        30.0, "BATCHMILL_GRACE_S", "How long calls in flight may go on after a stop.", least=0.0
    )


class CallSettings(Group):
    """How patient a single request is."""

    timeout_s: float = seconds(600.0, "BATCHMILL_CALL_TIMEOUT_S", "Bound on one whole call.", least=0.1)
    max_tries: int = whole(
        5, "BATCHMILL_MAX_TRIES", "Calls a request may take, the first included.", most=100
    )
    backoff_base_s: float = seconds(
        0.5, "BATCHMILL_BACKOFF_BASE_S", "Wait before the second try; it doubles from there.", least=0.0
    )
    backoff_cap_s: float = seconds(60.0, "BATCHMILL_BACKOFF_CAP_S", "Longest wait between tries.", least=0.0)
    give_up_s: float = seconds(
        60.0, "BATCHMILL_GIVE_UP_S", "How long a run goes on while what it needs is away.", least=0.1
    )


class CircuitSettings(Group):
    """When a model that does not answer is left alone."""

    failures: int = whole(
        10,
        "BATCHMILL_CIRCUIT_FAILURES",
        "Failures in a row after which a model is left alone.",
        most=1_000_000,
    )
    open_s: float = seconds(
        2.0, "BATCHMILL_CIRCUIT_OPEN_S", "How long, at first; doubled up to 150 times as long.", least=0.1
    )


class InputSettings(Group):
    """What is taken in."""

    max_line_mb: int = whole(
        DEFAULT_MAX_LINE_BYTES // MB, MAX_LINE_VARIABLE, "Longest line of an input file, in MB.", most=1_024
    )

    @property
    def max_line_bytes(self) -> int:
        """The same in bytes."""
        return self.max_line_mb * MB


class CacheSettings(Group):
    """How long answers are used again."""

    ttl: str = setting(
        "",
        "BATCHMILL_CACHE_TTL",
        meaning="How long answers are kept, by request type.",
        accepts="type=time, comma between: moderation=24h,default=30d",
    )
    refusal_ttl_s: float = seconds(
        300.0,
        "BATCHMILL_REFUSAL_TTL_S",
        "How long a request the provider refused is not sent again.",
        least=0.0,
    )
    max_mb: int = whole(
        10_000,
        "BATCHMILL_CACHE_MAX_MB",
        "Size of the answers that the clean-up leaves in the cache, in MB; 0 = no limit.",
        least=0,
        most=1_000_000_000,
    )
    max_entries: int = whole(
        10_000_000,
        "BATCHMILL_CACHE_MAX_ENTRIES",
        "How many answers the clean-up leaves in the cache; 0 = no limit.",
        least=0,
        most=10_000_000_000,
    )


class BudgetSettings(Group):
    """What may be spent. Set the same everywhere: they are kept in the database, for all processes."""

    daily: UsdLimit | None = setting(
        None, "AI_DAILY_BUDGET", meaning="Most dollars a day, for all calls.", accepts=_USD_LIMIT
    )
    weekly: UsdLimit | None = setting(
        None, "AI_WEEKLY_BUDGET", meaning="Most dollars a week, from Monday on.", accepts=_USD_LIMIT
    )
    monthly: UsdLimit | None = setting(
        None, "AI_MONTHLY_BUDGET", meaning="Most dollars a calendar month.", accepts=_USD_LIMIT
    )
    timezone: ZoneName = setting(
        "UTC",
        "BATCHMILL_TIMEZONE",
        meaning="Whose days, weeks and months count, unless a budget names its own.",
        accepts="a name of the IANA list, such as Europe/Berlin",
    )
    output_cap_tokens: int = whole(
        16_384,
        "BATCHMILL_OUTPUT_CAP_TOKENS",
        "Longest answer, in tokens, where neither request nor model has a limit; then sent along.",
        most=10_000_000,
    )

    @property
    def limits(self) -> dict[Period, int]:
        """Those that are set, in nano-dollars."""
        given = {Period.DAY: self.daily, Period.WEEK: self.weekly, Period.MONTH: self.monthly}
        return {period: limit_nanos(usd) for period, usd in given.items() if usd is not None}


class LogRequests(StrEnum):
    """Which calls to providers, and which requests to the service, are logged one by one."""

    OFF = "off"
    ERRORS = "errors"
    ALL = "all"


class LogSettings(Group):
    """What is said on standard error while working."""

    level: Annotated[LogLevel, LowerCase] = choice(
        LogLevel.INFO, "BATCHMILL_LOG_LEVEL", "The least severe event that is logged."
    )
    format: Annotated[LogFormat, LowerCase] = choice(
        LogFormat.CONSOLE, "BATCHMILL_LOG_FORMAT", "For people, or one JSON object a line."
    )
    requests: Annotated[LogRequests, LowerCase] = choice(
        LogRequests.OFF,
        "BATCHMILL_LOG_REQUESTS",
        "Which calls to providers and requests to the service are logged; never what they say.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInForce:
    """A row of `batchmill config`: a variable, its value with secrets masked, its source, its meaning."""

    variable: str
    value: str | None
    source: Source
    meaning: str


class Settings(Group):
    """Everything that is set; change one for a process with `model_copy(update={"workers": ...})`."""

    home: Folder = setting(
        Path(DEFAULT_HOME),
        HOME_VARIABLE,
        meaning="Folder of the embedded database and broker, and of logs.",
        accepts="a folder",
    )
    prices_file: ExistingFile | None = setting(
        None,
        "BATCHMILL_PRICES",
        meaning="Your own prices, before the built-in ones.",
        accepts="an existing file",
    )
    secrets_file: AbsolutePath | None = setting(
        None,
        SECRETS_VARIABLE,
        meaning="A file with more of these variables, keys above all, read after the environment.",
        accepts="a file of NAME=value lines that only you may read",
    )
    failpoint: FailpointText | None = setting(
        None,
        "BATCHMILL_FAILPOINT",
        meaning="For tests of batchmill itself: a moment at which a process ends as kill -9 would end it.",
        accepts="the name of a failpoint; how many times it is met, and then stop to stand still, after colons",
    )
    database: DatabaseSettings
    broker: BrokerSettings
    openai: OpenAISettings
    anthropic: AnthropicSettings
    gemini: GeminiSettings
    openrouter: OpenRouterSettings
    local: LocalSettings
    limits: LimitSettings
    workers: WorkerSettings
    calls: CallSettings
    circuits: CircuitSettings
    input: InputSettings
    cache: CacheSettings
    budgets: BudgetSettings
    mail: MailSettings
    webhook: WebhookSettings
    schedules: ScheduleSettings
    retention: RetentionSettings
    health: HealthSettings
    training: TrainingSettings
    privacy: PrivacySettings
    service: ServiceSettings
    flower: FlowerSettings
    metrics: MetricsSettings
    client: ClientSettings
    log: LogSettings
    traces: TraceSettings

    _sources: Mapping[tuple[str, ...], Source] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def providers(self) -> Mapping[ProviderName, ProviderSettings]:
        """The accounts, usable or not."""
        return {name: getattr(self, name) for name in ProviderName}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What whoever starts a command should be told about its settings."""
        return self._warnings

    def note_sources(self, sources: Mapping[tuple[str, ...], Source], warnings: Sequence[str] = ()) -> None:
        """Remember where the values that are not defaults come from, for `describe`, and what is to be told."""
        self._sources = dict(sources)
        self._warnings = tuple(warnings)

    def to_environ(self) -> dict[str, str]:
        """The variables that make a child process load these very settings, laid over its environment.

        Holds secrets in the clear: hand it to the child in memory, never to a file or a log. The child reads no
        secrets file: what was in it is in here, also should the file be changed or gone meanwhile.
        """
        values = (
            (variables_of(field)[0], as_text(_value_at(self, path))) for path, field in leaves(type(self))
        )
        given = {variable: value for variable, value in values if value is not None}
        return given | {SECRETS_VARIABLE: ""}

    def describe(self) -> list[SettingInForce]:
        """Every setting with its value in force, secrets and passwords masked."""
        return [
            SettingInForce(
                variable=variables_of(field)[0],
                value=masked(_value_at(self, path)),
                source=self._sources.get(path, Source.DEFAULT),
                meaning=field.description or "",
            )
            for path, field in leaves(type(self))
        ]


def leaves(group: type[Group], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every single setting of a group and the groups in it, with its path from the top."""
    for name, field in group.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Group):
            yield from leaves(inner, (*above, name))
        else:
            yield (*above, name), field


def _value_at(settings: Settings, path: tuple[str, ...]) -> object:
    return reduce(getattr, path, settings)
