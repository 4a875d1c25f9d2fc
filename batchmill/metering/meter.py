"""The meter of a process that makes calls: what happens to them, counted as it happens.

On the way of every call, so nothing here formats, locks or writes: a few additions a call. Models are named by
producers: one has series of its own from its first reply that does not refuse it, as long as there are not too many.
"""

from typing import Final

from batchmill.metering import families
from batchmill.metering.tally import Count, Spread, Tally
from batchmill.providers.base import NOT_MADE, Reply, Verdict
from batchmill.providers.names import ProviderName
from batchmill.requests.model import Endpoint, RequestState
from batchmill.requests.work import Outcome, Rejection, Withheld
from batchmill.routing.names import Target

MOST_MODELS: Final = 100
LONGEST_NAME: Final = 100
OTHERS: Final = "(others)"
SHORTEST_WAIT_S: Final = 0.001

_OPERATIONS: Final = {
    Endpoint.CHAT: "chat",
    Endpoint.RESPONSES: "chat",
    Endpoint.EMBEDDINGS: "embeddings",
    Endpoint.COMPLETIONS: "text_completion",
    Endpoint.MODERATIONS: "moderation",
}
"""As OpenTelemetry calls them; the last is our own."""
_PROVIDERS: Final = {ProviderName.GEMINI.value: "gcp.gemini"}
"""Those that OpenTelemetry calls otherwise."""


class _Calls:
    """The series of one operation at one model, kept at hand."""

    __slots__ = ("_names", "_tally", "durations", "input_tokens", "output_tokens", "replies", "selections")

    def __init__(self, tally: Tally, target: Target, endpoint: Endpoint) -> None:
        self._tally = tally
        self._names = (_OPERATIONS[endpoint], _PROVIDERS.get(target.provider, target.provider), target.model)
        self.durations: dict[str, Spread] = {}
        self.input_tokens = tally.spread(families.CALL_TOKENS, *self._names, "input")
        self.output_tokens = tally.spread(families.CALL_TOKENS, *self._names, "output")
        self.replies: dict[tuple[str, str], Count] = {}
        self.selections: dict[str, Count] = {}

    def duration(self, error_type: str) -> Spread:
        found = self.durations.get(error_type)
        if found is None:
            found = self.durations[error_type] = self._tally.spread(
                families.CALL_DURATION, *self._names, error_type
            )
        return found


class Meter:
    """Counts for one process. Used from one event loop.

    Attributes:
        tally: All that has been counted.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self._calls: dict[tuple[Target, Endpoint], _Calls] = {}
        self._known: set[Target] = set()
        self._in_flight: dict[str, Count] = {}
        self._commits = self.tally.spread(families.COMMIT_DURATION)
        self._claims = self.tally.spread(families.CLAIM_SIZE)
        self._hits, self._shared, self._misses = (
            self.tally.count(families.LOOKUPS, result) for result in ("hit", "shared", "miss")
        )

    def in_flight(self, provider: str) -> Count:
        """How many calls to a provider are out: up when one leaves, down when it has ended."""
        found = self._in_flight.get(provider)
        if found is None:
            found = self._in_flight[provider] = self.tally.count(families.CALLS_IN_FLIGHT, provider)
        return found

    def note_end(self, outcome: Outcome, *, is_cheaper: bool = False) -> None:
        """A call has ended; one that was written down and then not made is none.

        Args:
            is_cheaper: A budget had this model asked instead.
        """
        attempt, reply = outcome.attempt, outcome.reply
        if reply.error_code == NOT_MADE:
            return
        target, endpoint = attempt.target, attempt.job.batch.endpoint
        calls = self._calls.get((target, endpoint)) or self._calls_to(target, endpoint, reply)
        if reply.latency_ms or reply.status_code is not None:
            calls.duration(error_type(reply)).note(reply.latency_ms / 1000)
        usage = reply.usage
        if usage is not None:
            calls.input_tokens.note(usage.input_tokens)
            calls.output_tokens.note(usage.output_tokens)
        key = reply.verdict.value, what_next(outcome)
        replies = calls.replies.get(key)
        if replies is None:
            named = self.named(target)
            replies = calls.replies[key] = self.tally.count(families.REPLIES, *named, *key)
        replies.value += 1
        how = selection(outcome, is_cheaper=is_cheaper)
        selections = calls.selections.get(how)
        if selections is None:
            named = self.named(target)
            selections = calls.selections[how] = self.tally.count(families.SELECTIONS, how, *named)
        selections.value += 1

    def note_withheld(self, withheld: Withheld | Rejection) -> None:
        """A request could not be called for."""
        why = "rejected" if isinstance(withheld, Rejection) else withheld.why.value
        self.tally.count(families.WITHHELD, why).value += 1

    def note_limit_wait(self, target: Target, limit: str, waited_s: float) -> None:
        """A call has had to wait for a limit; an instant is no wait."""
        if waited_s >= SHORTEST_WAIT_S:
            self.tally.spread(families.LIMIT_WAIT, *self.named(target), limit).note(waited_s)

    def note_claim(self, lines: int, answered: int) -> None:
        """Work was looked for; so many lines were taken, and so many of them answered at once."""
        self._claims.note(lines)
        self._hits.value += answered

    def note_lookups(self, *, hits: int, shared: int, misses: int) -> None:
        """What was claimed has been looked up in the cache."""
        self._hits.value += hits
        self._shared.value += shared
        self._misses.value += misses

    def note_commit(self, took_s: float) -> None:
        """A transaction of the writer has been committed."""
        self._commits.note(took_s)

    def note_circuit(self, key: tuple[str, str], state: str) -> None:
        """A circuit has changed to a state."""
        named = self.named(Target(*key))
        self.tally.count(families.CIRCUIT_CHANGES, *named, state).value += 1

    def named(self, target: Target) -> Target:
        """What a model goes by in labels."""
        return target if target in self._known else Target(target.provider, OTHERS)

    def _calls_to(self, target: Target, endpoint: Endpoint, reply: Reply) -> _Calls:
        """The series of a model; those of all others, which are kept under that name alone, until it is known."""
        if target not in self._known and reply.verdict is not Verdict.REFUSED and self._may_be_named(target):
            self._known.add(target)
        key = self.named(target), endpoint
        found = self._calls.get(key)
        if found is None:
            found = self._calls[key] = _Calls(self.tally, *key)
        return found

    def _may_be_named(self, target: Target) -> bool:
        model = target.model
        return len(self._known) < MOST_MODELS and len(model) <= LONGEST_NAME and model.isprintable()


def error_type(reply: Reply) -> str:
    """What class of error a reply is of, in OpenTelemetry's sense: few values, whatever providers say; "" for none."""
    if reply.verdict is Verdict.ANSWERED:
        return ""
    if reply.status_code is None:
        return reply.error_code  # one of ours: nobody else has said anything
    return str(reply.status_code) if reply.status_code >= 400 else reply.verdict.value


def what_next(outcome: Outcome) -> str:
    """What becomes of the request of a call that has ended."""
    if outcome.state is RequestState.DONE:
        return "done"
    if outcome.state is RequestState.FAILED:
        return "failed"
    if outcome.pause_reason:
        return "pause"
    return "next_model" if outcome.attempt.target in outcome.attempt.job.path.given_up else "again"


def selection(outcome: Outcome, *, is_cheaper: bool) -> str:
    """How the model of a call came to be asked."""
    job, target = outcome.attempt.job, outcome.attempt.target
    if job.provider and target == job.asked:
        return "manual"
    if is_cheaper:
        return "cheaper"
    given_up = job.path.given_up if job.path.steps else ()
    return "auto" if not job.provider and not any(other != target for other in given_up) else "fallback"
