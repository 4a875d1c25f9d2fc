"""Explaining: who would answer a request now and why, or who has answered one. Nothing is written, nobody is asked.

What is told comes from the parts that decide in a worker: the same router, prices, experience and circuits. Limits and
budgets are not looked at, nor is the cache.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from batchmill.errors import ConflictError, InputError, InvalidLinesError, NotFoundError, ProviderError
from batchmill.requests.checks import Fault
from batchmill.requests.model import ENDED, BatchOptions, LineError, RequestLine, RequestState, told_bad
from batchmill.requests.source import InputFile
from batchmill.requests.work import BatchFacts, Job
from batchmill.routing.addressing import Addressing
from batchmill.routing.circuits import Circuit, closed_until_ms
from batchmill.routing.names import Target
from batchmill.routing.path import Path
from batchmill.routing.resting import Resting, left_alone, open_until_ms
from batchmill.routing.router import Course, no_model_left
from batchmill.routing.selection import Selection
from batchmill.routing.wants import NOTHING, Wants, load_wants, merged
from batchmill.settings import Settings
from db import attempts, circuits, claims, lookup, paths, requests
from db.engine import Database
from db.experience import experiences
from workers.addresses import ENDPOINTS, addressing_of, misfit_of, upstreams_of
from workers.assembly import make_providers
from workers.choosing import Choosing
from workers.prices import file_prices, read_terms
from workers.removed import refuse_removed


class Whose(StrEnum):
    """Who has named a model."""

    ASKED = "asked"
    """The request itself asks for it."""
    LINE = "line"
    """The line names it as a fallback."""
    BATCH = "batch"
    """The options of its batch do."""
    CATALOGUE = "catalogue"
    """The catalogue does, for the model asked for."""
    SELECTION = "selection"
    """Nobody: it was chosen."""


class Turn(StrEnum):
    """When a model is asked."""

    NEXT = "next"
    """The next call goes to it."""
    STANDS_BY = "stands_by"
    """When those before it do not answer."""
    RESTS = "rests"
    """When its time is over: it is left alone."""
    OUT = "out"
    """Never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A model that a request may be put to, in its place.

    Attributes:
        why_not: Why it is never asked; "" for one that may be.
        resting: Its circuit, where no call goes to it now.
    """

    target: Target
    whose: Whose
    turn: Turn
    why_not: str = ""
    resting: Resting | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who answers a request from here on.

    Attributes:
        selection: The choice, of a request for any model.
        chain: Whom it may go to, in that order.
        fault: Why nobody can ever answer it.
        free_at_ms: When somebody may be asked, where only waiting helps.
        now_ms: When that was so.
    """

    asked: Target
    endpoint: str
    request_type: str
    selection: Selection | None
    chain: tuple[Link, ...]
    fault: Fault | None
    free_at_ms: int | None
    now_ms: int

    @property
    def next(self) -> Link | None:
        """Who is asked next; None where nobody can be now."""
        return next((link for link in self.chain if link.turn is Turn.NEXT), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePlan:
    """What would become of a line of an input.

    Attributes:
        refused: Why `batchmill run` would not take it in; "" where it would.
    """

    line: RequestLine
    plan: Plan
    refused: str = ""

    @property
    def can_be_answered(self) -> bool:
        """Whether anybody can answer it, now or later."""
        return not self.refused and self.plan.fault is None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What has become of a request, and what comes next.

    Attributes:
        batch: The row of its batch.
        row: Its own, with what it asks and the head of its answer (`db.requests.named`).
        calls: The rows of its attempts, the first one first.
        plan: None where it has ended.
    """

    batch: Any
    row: Any
    asked: Target
    calls: tuple[Any, ...]
    path: Path
    plan: Plan | None

    @property
    def answered_by(self) -> Target | None:
        """Whose answer it has got; None without one of a provider."""
        if not self.row.answer_provider:
            return None
        return Target(provider=self.row.answer_provider, model=self.row.answer_model)

    @property
    def is_from_cache(self) -> bool:
        """Whether that is the answer to another request."""
        own = {call.id for call in self.calls}
        return self.answered_by is not None and abs(self.row.answer_id) not in own

    @property
    def can_be_answered(self) -> bool:
        """Whether it is answered, or somebody can yet do so."""
        if self.plan is None:
            return bool(self.row.state == RequestState.DONE)
        return self.plan.fault is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """Explains by what is known at one moment. Not shared between threads."""

    settings: Settings
    database: Database
    choosing: Choosing
    circuits: Mapping[circuits.Key, Circuit]
    now_ms: int

    @classmethod
    def of(cls, settings: Settings, database: Database) -> "Explainer":
        """One that goes by the catalogue, prices, calls and circuits of an installation.

        Raises:
            SettingsError: The file of prices is wrong.
            DatabaseError: The database is away.
        """
        from_file = file_prices(settings)
        with database.read() as tx:
            terms, known, broken, now_ms = (
                read_terms(tx, from_file),
                experiences(tx),
                circuits.read(tx),
                tx.now_ms,
            )
        providers = make_providers(settings, 1)
        choosing = Choosing.of(
            from_file,
            upstreams=upstreams_of(settings),
            misfit=misfit_of({name.value: provider for name, provider in providers.items()}),
            endpoints=ENDPOINTS,
            output_cap_tokens=settings.budgets.output_cap_tokens,
            now_ms=lambda: now_ms,
        )
        choosing.go_by(terms.prices, terms.models)
        choosing.outlook.set_experiences(known)
        choosing.outlook.open_circuits = lambda: open_until_ms(broken, now_ms)
        return cls(settings=settings, database=database, choosing=choosing, circuits=broken, now_ms=now_ms)

    def line(
        self,
        source: InputFile,
        number: int | None,
        options: BatchOptions,
        *,
        on_bad_line: Callable[[LineError], None],
    ) -> LinePlan:
        """What would become of a line of an input.

        Args:
            number: Its number in the input, from 1, blank lines counted; None for the first request.
            on_bad_line: Told what is wrong with it.

        Raises:
            InputError: There is no request on that line, or the input cannot be read.
            InvalidLinesError: The line is not valid.
        """
        given = _line(source, number)
        line = given if isinstance(given, LineError) else Addressing().address(given)
        if isinstance(line, LineError):
            on_bad_line(line)
            raise InvalidLinesError(f"{told_bad({line.line})} not valid", "correct it first")
        assert isinstance(given, RequestLine)
        job = _job(line, options, self.now_ms)
        plan = self.plan(job, own=load_wants(line.routing))
        return LinePlan(line=line, plan=plan, refused=self._refusal(given))

    def request(self, batch: Any, custom_id: str) -> History:
        """What has become of a request of a batch, and what comes next.

        Args:
            batch: Its row.

        Raises:
            NotFoundError: There is no such line, or it is removed.
            ConflictError: The batch has no lines yet.
        """
        if not batch.endpoint:
            raise ConflictError(
                f"batch {batch.public_id} is {batch.state}: it has no lines that could be explained",
                f"`batchmill status {batch.public_id}` shows how it gets on",
            )
        refuse_removed(batch)
        with self.database.read() as tx:
            row = requests.named(tx, batch.id, custom_id)
            if row is None:
                raise NotFoundError(
                    f'batch {batch.public_id} has no line "{custom_id}"',
                    "lines are named by their custom_id; `batchmill results` shows those that have ended",
                )
            calls, path = attempts.of_request(tx, row.id), paths.of_request(tx, row.id)
        job = claims.job_of(row, claims.facts_of(batch), 0)
        lookup.put_question(job, row, path)
        plan = None if row.state in ENDED else self.plan(job, own=load_wants(row.routing))
        return History(batch=batch, row=row, asked=job.asked, calls=tuple(calls), path=path, plan=plan)

    def plan(self, job: Job, *, own: Wants = NOTHING) -> Plan:
        """Who answers a request from here on.

        Args:
            job: Its path is gone on with.
            own: What its line wants, in difference to its batch.
        """
        router, path = self.choosing.router, job.path
        selection = None if job.provider else router.select(job)
        course = router.course(job)
        if selection is not None:
            chosen = (considered.target for considered in selection.candidates)
            targets = list(dict.fromkeys((*chosen, *course.targets)))
        else:
            targets = list(dict.fromkeys(router.chain(job)))
        chain = tuple(self._links(job, path, course, targets, own))
        fault = course.fault
        if (
            fault is None
            and course.free_at_ms is None
            and chain
            and all(link.turn is Turn.OUT for link in chain)
        ):
            fault = no_model_left(f"{link.target.name}: {link.why_not}" for link in chain)
        waits_ms = [link.resting.until_ms for link in chain if link.resting is not None]
        is_asked = any(link.turn is Turn.NEXT for link in chain)
        return Plan(
            asked=job.asked,
            endpoint=job.batch.endpoint,
            request_type=job.request_type,
            selection=selection,
            chain=chain,
            fault=fault,
            free_at_ms=None if is_asked or fault else min(waits_ms, default=course.free_at_ms),
            now_ms=self.now_ms,
        )

    def _links(
        self, job: Job, path: Path, course: Course, targets: list[Target], own: Wants
    ) -> Iterator[Link]:
        is_lone = len(course.targets) == 1 and not path.given_up
        resting = {one.target: one for one in left_alone(self.circuits, self.now_ms)}
        has_next = False
        for target in targets:
            whose = _whose(job, target, own)
            if why_not := self._why_not(job, path, target):
                yield Link(target=target, whose=whose, turn=Turn.OUT, why_not=why_not)
            elif self._is_closed(target, is_lone=is_lone):
                yield Link(target=target, whose=whose, turn=Turn.RESTS, resting=resting[target])
            else:
                yield Link(target=target, whose=whose, turn=Turn.STANDS_BY if has_next else Turn.NEXT)
                has_next = True

    def _why_not(self, job: Job, path: Path, target: Target) -> str:
        if target in path.given_up:
            return "it has been asked, and did not answer"
        return self.choosing.router.why_not(target, job) or ""

    def _is_closed(self, target: Target, *, is_lone: bool) -> bool:
        circuit = self.circuits.get(target.key)
        return circuit is not None and closed_until_ms(circuit, self.now_ms, is_lone=is_lone) is not None

    def _refusal(self, line: RequestLine) -> str:
        try:
            taken = addressing_of(self.settings, calls_here=True).address(line)
        except ProviderError as error:
            return error.message
        return taken.message if isinstance(taken, LineError) else ""


def _line(source: InputFile, number: int | None) -> RequestLine | LineError:
    """The request on that line, or what is wrong with it."""
    last = 0
    for line in source.lines():
        if number is None or line.line is None or line.line == number:
            return line
        if line.line > number:
            break
        last = line.line
    raise InputError(
        f"{source.name} has no request on line {number:,}",
        f"the one before is on line {last:,}" if last else "the first one stands after it",
    )


def _job(line: RequestLine, options: BatchOptions, now_ms: int) -> Job:
    """The job that a worker would have in hand for a line, as addressed."""
    wants = load_wants(options.routing)
    return Job(
        request_id=0,
        batch=BatchFacts.of(options, endpoint=line.endpoint, started_ms=now_ms),
        claim_id=0,
        cache_key=None,
        request_type=line.request_type or options.request_type,
        provider=line.provider,
        model=line.model,
        body=orjson.dumps(line.body),
        wants=merged(load_wants(line.routing), wants) if line.routing else wants,
    )


def _whose(job: Job, target: Target, own: Wants) -> Whose:
    if not job.provider:
        return Whose.SELECTION
    if target == job.asked:
        return Whose.ASKED
    if own.fallback:
        return Whose.LINE
    return Whose.BATCH if job.batch.wants.fallback else Whose.CATALOGUE
