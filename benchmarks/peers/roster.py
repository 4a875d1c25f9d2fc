"""Who is measured beside batchmill: what runs it, what it has, and what it does not do."""

from dataclasses import dataclass
from enum import StrEnum


class Environment(StrEnum):
    """The environments that peers run in; each has a file of pinned requirements."""

    SDK = "sdk"
    SCRIPT = "script"
    CELERY = "celery"
    LITELLM = "litellm"
    CURATOR = "curator"

    @property
    def is_in_ours(self) -> bool:
        """Whether this project's own environment has what it needs."""
        return self in (Environment.SDK, Environment.SCRIPT, Environment.CELERY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One of the others.

    Attributes:
        program: The module of `benchmarks.peers.programs` that runs it.
        package: Whose version is told with its figures.
        differs: What is not the same as with batchmill, for better or worse.
        lost: What kill -9 takes.
        has_cache: Whether it can answer a file from answers of before.
        has_limits: Whether it can be told a provider's limits.
        has_lanes: Whether what is urgent can overtake what is not.
        needs_broker: Whether it wants a Redis.
    """

    name: str
    environment: Environment
    program: str
    package: str
    differs: str
    lost: str
    has_cache: bool = False
    has_limits: bool = False
    has_lanes: bool = False
    needs_broker: bool = False


LOOP = Peer(
    name="bare AsyncOpenAI loop",
    environment=Environment.SDK,
    program="sdk_loop",
    package="openai",
    differs="Nothing to install but the SDK, nothing to run beside it, and little memory, however long the file. No"
    " retries that outlive it, no ledger, no cache.",
    lost="Where it was: all is asked and paid again, unless somebody compares the files.",
)
CELERY = Peer(
    name="one Celery task a request",
    environment=Environment.CELERY,
    program="celery_queue",
    package="celery",
    differs="Spreads over machines as it is, and its priorities need no more than a Redis. Two prefork processes with"
    " the sync SDK; threads where calls take seconds. Tasks are acknowledged late, the Redis appends to a file every"
    " second. No ledger, no cache, no limits over several workers; answers come in no order.",
    lost="No task once the Redis has it written down (a second, as it comes). Tasks under way are called again, and"
    " paid again, an hour later (its visibility timeout); nothing tells which those were.",
    has_lanes=True,
    needs_broker=True,
)
SCRIPT = Peer(
    name="plain rate-limited script",
    environment=Environment.SCRIPT,
    program="paced_script",
    package="aiohttp",
    differs="One file that one can read, and the least memory of all. Starts at most one call in a millisecond,"
    " takes tokens as bytes over four, keeps to limits in one process only. No ledger, no cache.",
    lost="The calls under way; what is answered is in its file, but where it was nobody knows.",
    has_limits=True,
)
ROUTER = Peer(
    name="LiteLLM Router",
    environment=Environment.LITELLM,
    program="litellm_router",
    package="litellm",
    differs="A hundred providers behind one call, and fallbacks between them; in the caller's process, streaming"
    " included. Not a batch: no record of what was asked or paid unless one adds it. Its cache here is in a Redis, and"
    " told to keep answers for a day: of itself it forgets each after a minute.",
    lost="Where it was, but for what its cache has kept.",
    has_cache=True,
    has_limits=True,
)
PROXY = Peer(
    name="LiteLLM proxy",
    environment=Environment.LITELLM,
    program="litellm_proxy",
    package="litellm",
    differs="The same for callers in any language, with keys and budgets where it is given a PostgreSQL (not here)."
    " A bare SDK loop calls through it; the processor time of both is counted.",
    lost="The calls under way, at the proxy; where it was, at the loop.",
)
CURATOR = Peer(
    name="bespokelabs-curator",
    environment=Environment.CURATOR,
    program="curator_batch",
    package="bespokelabs-curator",
    differs="Data sets in, data sets out, answers parsed into types. Keeps every answer in a file of its run, and goes"
    " on from there; a run counts as the same only if all of its lines are. Of a limit of tokens it sets aside a"
    " quarter of the model's longest answer for each call, whatever `max_tokens` says. No ledger, one process.",
    lost="The calls under way.",
    has_cache=True,
    has_limits=True,
)
PEERS = (LOOP, SCRIPT, CELERY, ROUTER, PROXY, CURATOR)
