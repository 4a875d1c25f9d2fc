"""The router: whom a request may go to from here on, when it may go to nobody now, and when to nobody at all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.requests.model import Endpoint
from batchmill.requests.work import Job
from batchmill.routing.filters import Situation
from batchmill.routing.names import Target
from batchmill.routing.path import Step, What
from batchmill.routing.router import NO_MODEL_LEFT, Router, body_for
from batchmill.routing.selection import MOST_CANDIDATES, NO_MODEL_FITS
from batchmill.routing.wants import Wants
from tests.unit.test_judge import attempt
from tests.unit.test_routing_selection import CHEAP, NORMAL, NOW_MS, entry, here

LATER_MS = NOW_MS + 5_000
ASKED = Target(provider="openai", model="gpt-4o-mini")
OTHER = Target(provider="local", model="llama")


@dataclass(kw_only=True)
class Outside:
    """What a router is told: the models, who rests, and who cannot be asked.

    Attributes:
        misfits: Models that cannot be asked, and why.
    """

    models: list[ModelEntry] = field(default_factory=list)
    open_until_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    misfits: dict[str, str] = field(default_factory=dict)

    def router(self) -> Router:
        def situation(job: Job, body: Mapping[str, Any]) -> Situation:
            return here(open_until_ms=self.open_until_ms)

        def misfit(target: Target, endpoint: Endpoint, body: bytes) -> str | None:
            return self.misfits.get(target.model)

        router = Router(
            providers={"openai", "local"}, misfit=misfit, situation=situation, now_ms=lambda: NOW_MS
        )
        router.set_models(self.models)
        return router


def job_for(asked: Target, *given_up: Target, **fields: Any) -> Job:
    job = attempt().job
    job.provider, job.model = asked
    job.body = orjson.dumps({"model": asked.model, "messages": [{"role": "user", "content": "hi"}]})
    for name, value in fields.items():
        setattr(job, name, value)
    for target in given_up:
        job.note(Step(target=target, what=What.TRIED, why="500: oops", at_ms=1))
    return job


def for_any(*given_up: str, **fields: Any) -> Job:
    targets = (Target(provider="openai", model=model) for model in given_up)
    return job_for(Target(provider="", model="auto"), *targets, **fields)


def names(targets: tuple[Target, ...]) -> list[str]:
    return [target.model for target in targets]


def test_who_is_asked_for_comes_first_and_then_the_fallbacks() -> None:
    """The request's own if it has any, else those of the catalogue."""
    outside = Outside(models=[entry(ASKED.model, fallback=(OTHER,))])
    own = Wants(fallback=(Target(provider="local", model="own"),))
    assert names(outside.router().course(job_for(ASKED)).targets) == [ASKED.model, "llama"]
    assert names(outside.router().course(job_for(ASKED, wants=own)).targets) == [ASKED.model, "own"]


def test_who_has_been_given_up_is_not_asked_again() -> None:
    """With nobody left the request fails, and names all and why."""
    job = job_for(ASKED, ASKED, wants=Wants(fallback=(OTHER,)))
    assert Outside().router().course(job).targets == (OTHER,)
    job.note(Step(target=OTHER, what=What.TRIED, why="refused", at_ms=2))
    course = Outside().router().course(job)
    assert course.fault is not None
    assert course.fault.code == NO_MODEL_LEFT
    assert "openai/gpt-4o-mini: 500: oops; local/llama: refused" in course.fault.message


def test_who_cannot_be_asked_is_passed_over_and_noted() -> None:
    """What a fallback cannot be asked does not fail the request, and is on its path."""
    outside = Outside(misfits={"llama": "it has no field logprobs"})
    strange = Target(provider="gemini", model="flash")
    job = job_for(ASKED, wants=Wants(fallback=(OTHER, strange)))
    assert outside.router().course(job).targets == (ASKED,)
    assert [(step.target, step.what, step.why) for step in job.path.steps] == [
        (OTHER, What.REJECTED, "it has no field logprobs"),
        (strange, What.REJECTED, "gemini has no key or address here"),
    ]


def test_a_request_for_any_model_has_its_candidates_and_their_reasons_on_its_path() -> None:
    """Every model of the catalogue, the best first."""
    outside = Outside(models=[entry("large", NORMAL), entry("small"), entry("off", is_active=False)])
    job = for_any()
    assert names(outside.router().course(job).targets) == ["small", "large"]
    assert [(step.target.model, step.what) for step in job.path.steps] == [
        ("small", What.CHOSEN),
        ("large", What.CHOSEN),
        ("off", What.REJECTED),
    ]


def test_a_request_for_any_model_waits_for_one_that_only_rests() -> None:
    """Whoever else has been given up, it has not failed: an outage ends."""
    outside = Outside(
        models=[entry("first"), entry("second")], open_until_ms={("openai", "second"): LATER_MS}
    )
    course = outside.router().course(for_any("first"))
    assert (course.fault, course.targets, course.free_at_ms) == (None, (), LATER_MS)


def test_a_request_for_any_model_waits_where_the_others_cannot_be_asked() -> None:
    """The same where those that do not rest have no way to say what it asks."""
    outside = Outside(
        models=[entry("first"), entry("second")],
        open_until_ms={("openai", "second"): LATER_MS},
        misfits={"first": "it has no field logprobs"},
    )
    course = outside.router().course(for_any())
    assert (course.fault, course.free_at_ms) == (None, LATER_MS)


def test_a_request_for_any_model_goes_on_to_the_next_tier() -> None:
    """Once all of the preferred tier have been given up, or cannot be asked."""
    models = [entry("small", CHEAP), entry("odd", CHEAP), entry("large", NORMAL)]
    outside = Outside(models=models, misfits={"odd": "it has no field logprobs"})
    course = outside.router().course(for_any("small", request_type="quiz"))
    assert names(course.targets) == ["large"]


def test_a_request_for_any_model_goes_on_to_the_spare_ones() -> None:
    """There are more that fit than are candidates: who has been given up leaves its place to the next."""
    models = [entry(f"m{nth}") for nth in range(MOST_CANDIDATES + 1)]
    course = Outside(models=models).router().course(for_any("m0"))
    assert names(course.targets) == [f"m{nth}" for nth in range(1, MOST_CANDIDATES + 1)]


def test_a_request_for_any_model_is_not_put_to_the_whole_catalogue() -> None:
    """After so many that did not answer it fails: what fails everywhere is not paid for without end."""
    models = [entry(f"m{nth}") for nth in range(MOST_CANDIDATES + 3)]
    course = Outside(models=models).router().course(for_any(*(f"m{nth}" for nth in range(MOST_CANDIDATES))))
    assert course.fault is not None
    assert course.fault.code == NO_MODEL_LEFT


def test_a_request_for_any_model_fails_when_all_have_been_given_up() -> None:
    """It says what each of them has said."""
    course = Outside(models=[entry("only")]).router().course(for_any("only"))
    assert course.fault is not None
    assert (course.fault.code, course.free_at_ms) == (NO_MODEL_LEFT, None)
    assert "openai/only: 500: oops" in course.fault.message


def test_a_request_for_any_model_fails_where_none_ever_fits() -> None:
    """Nothing has been tried: every model is named with what speaks against it."""
    course = Outside(models=[entry("off", Tier.CHEAP, is_active=False)]).router().course(for_any())
    assert course.fault is not None
    assert course.fault.code == NO_MODEL_FITS
    assert "openai/off: it is disabled" in course.fault.message


def test_a_request_is_put_to_another_under_its_name() -> None:
    """The rest of its body stays as it is; its own model gets it as it came."""
    job = job_for(ASKED)
    assert body_for(job, ASKED) is job.body
    assert orjson.loads(body_for(job, OTHER)) == orjson.loads(job.body) | {"model": "llama"}
