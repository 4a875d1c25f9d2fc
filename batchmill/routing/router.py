"""The router: whom a request may go to, the best first.

That is whom it asks for and then its fallbacks: its own, else those of the catalogue. A request for any model has what
the selection makes of the catalogue. Whoever has been given up for a request is not asked again for it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import orjson

from batchmill.catalogue.entries import ModelEntry
from batchmill.requests.checks import Fault
from batchmill.requests.model import Endpoint
from batchmill.requests.work import Job
from batchmill.routing.filters import No, Situation, WhyNot
from batchmill.routing.names import Target
from batchmill.routing.path import Step, What
from batchmill.routing.question import question_of
from batchmill.routing.selection import MOST_CANDIDATES, Considered, Selection, select

NO_MODEL_LEFT = "no_model_left"
GIVEN_UP = No(WhyNot.GIVEN_UP, "it has been asked, and did not answer")
NO_MISFITS: Mapping[Target, str] = {}

Misfit = Callable[[Target, Endpoint, bytes], str | None]
"""Why a provider cannot be asked for something, in words for people; None when it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Whom a request may go to.

    Attributes:
        targets: The best first; none where it can go to nobody now.
        fault: Why it can never go to anybody.
        free_at_ms: When to ask again, where only waiting helps.
    """

    targets: tuple[Target, ...] = ()
    fault: Fault | None = None
    free_at_ms: int | None = None


@dataclass(slots=True, kw_only=True)
class Router:
    """Finds the courses of one process. Not shared between threads.

    Attributes:
        providers: Those that can be called here.
        misfit: What they cannot be asked for.
        situation: What is known of a request for any model, by what the selection goes.
        models: The catalogue.
    """

    providers: Collection[str]
    misfit: Misfit
    situation: Callable[[Job, Mapping[str, Any]], Situation]
    now_ms: Callable[[], int]
    models: Sequence[ModelEntry] = ()
    _fallbacks: Mapping[tuple[str, str], tuple[Target, ...]] = field(default_factory=dict, init=False)

    def set_models(self, models: Sequence[ModelEntry]) -> None:
        """Choose from these, as the catalogue has them."""
        self.models = models
        self._fallbacks = fallbacks_of(models)

    def course(self, job: Job) -> Course:
        """Whom a request may go to from here on; what it is kept from is noted on its path."""
        if not job.provider:
            return self._chosen(job)
        chain = self.chain(job)
        if len(chain) == 1 and chain[0].provider in self.providers:
            return _lone(chain[0])  # nearly always: what it asks, its intake has looked at
        return self._of(chain, job)

    def chain(self, job: Job) -> tuple[Target, ...]:
        """Whom a request that names a model asks for, and its fallbacks; those of a fallback are not looked at."""
        asked = job.asked
        return (asked, *(job.wants.fallback or self._fallbacks.get(asked, ())))

    def select(self, job: Job, misfits: Mapping[Target, str] = NO_MISFITS) -> Selection:
        """The choice for a request for any model, with everything that it goes by.

        Args:
            misfits: Who cannot be asked it, and why.
        """
        body = orjson.loads(job.body)
        question = question_of(job.batch.endpoint, body, request_type=job.request_type, wants=job.wants)
        out = {target.key: No(WhyNot.MISFIT, why) for target, why in misfits.items()}
        out |= dict.fromkeys((target.key for target in job.path.given_up), GIVEN_UP)
        return select(question, self.models, replace(self.situation(job, body), out=out))

    def why_not(self, target: Target, job: Job) -> str | None:
        """Why a request can never be put to a model from here; None when it can."""
        if target.provider not in self.providers:
            return f"{target.provider} has no key or address here"
        return self.misfit(target, job.batch.endpoint, body_for(job, target))

    def _chosen(self, job: Job) -> Course:
        """The course over the candidates; over the next best where none of them can be asked."""
        if len(job.path.given_up) >= MOST_CANDIDATES:
            return Course(fault=self._fault(job))
        misfits: dict[Target, str] = {}
        while (selection := self.select(job, misfits)).candidates:
            self._note_choice(selection, job)
            targets = [considered.target for considered in selection.candidates]
            more = self._misfits(targets, job)
            if fit := tuple(target for target in targets if target not in more):
                return Course(targets=fit)
            misfits |= more
        self._note_choice(selection, job)
        if selection.free_at_ms:
            return Course(free_at_ms=selection.free_at_ms)
        return Course(fault=self._fault(job) if misfits or job.path.given_up else selection.fault)

    def _of(self, targets: tuple[Target, ...], job: Job) -> Course:
        """The course over these targets, without those that it is of no use to ask."""
        given_up = job.path.given_up
        left = [target for target in dict.fromkeys(targets) if target not in given_up]
        misfits = self._misfits(left, job)
        fit = tuple(target for target in left if target not in misfits)
        return Course(targets=fit) if fit else Course(fault=self._fault(job))

    def _misfits(self, targets: Iterable[Target], job: Job) -> dict[Target, str]:
        """Those of the targets that can never be asked, and why; that is noted on the path."""
        misfits = {target: why for target in targets if (why := self.why_not(target, job)) is not None}
        for target, why in misfits.items():
            job.note(Step(target=target, what=What.REJECTED, why=why, at_ms=self.now_ms()))
        return misfits

    def _note_choice(self, selection: Selection, job: Job) -> None:
        """Note on a new path who has been considered."""
        if not job.path.steps:
            for considered in (*selection.candidates, *selection.rejected):
                job.note(self._step(considered))

    def _fault(self, job: Job) -> Fault:
        return no_model_left(_told(job))

    def _step(self, considered: Considered) -> Step:
        if considered.why_not is None:
            return Step(
                target=considered.target, what=What.CHOSEN, why=considered.reason, at_ms=self.now_ms()
            )
        why = considered.why_not.value  # there is one for nearly every model of the catalogue: a word will do
        return Step(target=considered.target, what=What.REJECTED, why=why, at_ms=self.now_ms())


def fallbacks_of(models: Iterable[ModelEntry]) -> dict[tuple[str, str], tuple[Target, ...]]:
    """Whom the catalogue has asked when a model does not answer and its request names nobody."""
    return {model.key: model.fallback for model in models if model.fallback}


@lru_cache(maxsize=1_000)
def _lone(target: Target) -> Course:
    return Course(targets=(target,))


def body_for(job: Job, target: Target) -> bytes:
    """The request as it is put to a model: its own body, under that model's name."""
    if job.provider and target.model == job.model:
        return job.body
    return orjson.dumps(orjson.loads(job.body) | {"model": target.model})


def no_model_left(told: Iterable[str]) -> Fault:
    """The fault of a line that nobody can be asked for.

    Args:
        told: Each model with why not.
    """
    why = "; ".join(dict.fromkeys(told))
    advice = "Name another model, or submit the line again once one of these can be asked."
    return Fault(NO_MODEL_LEFT, f"No model is left to ask. {why}. {advice}", "body.model")


def _told(job: Job) -> Iterator[str]:
    for step in job.path.steps:
        if step.what in (What.TRIED, What.REJECTED):
            yield f"{step.target.name}: {step.why}"
