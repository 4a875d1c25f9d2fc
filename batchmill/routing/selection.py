"""Selection: which models of the catalogue may answer a question, the best first, and why the others may not.

A model has to pass everything in `filters.py`: what it can do, whether it can be called, the floor of quality for how
complex the question is, the longest time that is wanted. Of those that pass, the tiers are looked at in the order of
the rule in `tiers.py`, and the first that has one is chosen from. There the cheapest by what it is expected to cost
comes first, one without a known price last; of equals the better one, then the default of its tier, then by name.

So the longest time counts before the tier: where every model of the preferred tier is too slow, one of another tier is
chosen, rather than none. A model of unknown quality answers simple questions only: its owner has put it into the
catalogue, but nobody has said that it can do more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchmill.catalogue.entries import ModelEntry, Tier
from batchmill.money.nanos import format_usd
from batchmill.requests.checks import Fault
from batchmill.routing.filters import Filters, LatencySource, No, Situation, WhyNot
from batchmill.routing.names import Target
from batchmill.routing.question import Question
from batchmill.routing.tiers import TierRule

MOST_CANDIDATES = 5
NO_MODEL_FITS = "no_model_fits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """A model of the catalogue, and what speaks for or against it.

    Attributes:
        latency_ms: What it typically takes; None = nobody knows.
        expected_nanos: What the answer is expected to cost; None = no price is known.
        why_not: None for a candidate.
        reason: Why it is chosen, a fallback or neither; for people.
    """

    model: ModelEntry
    latency_ms: int | None
    latency_source: LatencySource
    expected_nanos: int | None
    why_not: WhyNot | None
    reason: str

    @property
    def target(self) -> Target:
        """Where its call would go."""
        return Target(provider=self.model.provider, model=self.model.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What came of a question.

    Attributes:
        tier: The tier that was chosen from; None = any, or nothing fits.
        candidates: The first is the choice, the others are its fallbacks.
        rejected: All others, in the order in which they were given.
        free_at_ms: When nothing fits now: the moment from which a model that has failed just now may be asked. None =
            waiting does not help.
    """

    question: Question
    tier: Tier | None
    candidates: tuple[Considered, ...]
    rejected: tuple[Considered, ...]
    free_at_ms: int | None = None

    @property
    def choice(self) -> Considered | None:
        """Whom to ask; None when nothing fits."""
        return self.candidates[0] if self.candidates else None

    @property
    def fault(self) -> Fault | None:
        """Why nobody can be asked, naming every model; None when somebody can."""
        if self.candidates:
            return None
        return Fault(NO_MODEL_FITS, _nothing_fits(self), "body.model")


def select(question: Question, models: Sequence[ModelEntry], here: Situation) -> Selection:
    """Return who may answer a question, the best first, and why the others may not.

    Args:
        models: The whole catalogue; what is disabled is told as such.
    """
    filters = Filters(question=question, here=here)
    against = {model.key: no for model in models if (no := filters.against(model))}
    fitting = [model for model in models if model.key not in against]
    tier = _first_tier(question.rule, fitting)
    costs = {model.key: here.expected_nanos(model) for model in models}
    ordered: list[ModelEntry] = []
    for model in sorted(fitting, key=lambda model: _rank(model, costs[model.key])):
        if question.rule.preferred is not None and model.tier is not tier:
            against[model.key] = _other_tier(question.rule, tier, model)
        elif len(ordered) == MOST_CANDIDATES:
            against[model.key] = No(WhyNot.SPARE, f"it fits, but {MOST_CANDIDATES} better ones do too")
        else:
            ordered.append(model)
    places = {model.key: place for place, model in enumerate(ordered)}
    considered = {model.key: _considered(model, costs, against, places, here) for model in models}
    return Selection(
        question=question,
        tier=tier,
        candidates=tuple(considered[model.key] for model in ordered),
        rejected=tuple(considered[model.key] for model in models if model.key in against),
        free_at_ms=None if ordered else _free_at_ms(models, filters),
    )


def _first_tier(rule: TierRule, fitting: Sequence[ModelEntry]) -> Tier | None:
    """The tier that is chosen from; None = any, or no tier that will do has a model that fits."""
    there = {model.tier for model in fitting}
    return None if rule.preferred is None else next((tier for tier in rule.order if tier in there), None)


def _free_at_ms(models: Sequence[ModelEntry], filters: Filters) -> int | None:
    """When the first of the models that only have to rest may be asked again."""
    return min(
        (
            filters.here.open_until_ms[model.key]
            for model in models
            if model.tier in filters.question.rule.order and filters.has_only_to_rest(model)
        ),
        default=None,
    )


def _rank(model: ModelEntry, expected_nanos: int | None) -> tuple[bool, int, float, bool, str]:
    is_unpriced = expected_nanos is None
    return is_unpriced, expected_nanos or 0, -(model.quality or 0), not model.is_default, model.name


def _other_tier(rule: TierRule, tier: Tier | None, model: ModelEntry) -> No:
    instead = f"{tier} is chosen from" if tier else f"only {', '.join(rule.order)} will do"
    return No(WhyNot.TIER, f"it is {model.tier}, and {instead}")


def _praise(place: int, expected_nanos: int | None) -> str:
    cost = "its price is not known" if expected_nanos is None else f"about {format_usd(expected_nanos)}"
    return f"chosen, {cost}" if place == 0 else f"fallback {place}, {cost}"


def _considered(
    model: ModelEntry,
    costs: Mapping[tuple[str, str], int | None],
    against: Mapping[tuple[str, str], No],
    places: Mapping[tuple[str, str], int],
    here: Situation,
) -> Considered:
    latency_ms, source = here.latency_of(model)
    no, expected_nanos = against.get(model.key), costs[model.key]
    return Considered(
        model=model,
        latency_ms=latency_ms,
        latency_source=source,
        expected_nanos=expected_nanos,
        why_not=no.why_not if no else None,
        reason=no.reason if no else _praise(places[model.key], expected_nanos),
    )


def _nothing_fits(selection: Selection) -> str:
    if not selection.rejected:
        return "The catalogue has no model to choose from. Fill it with `batchmill providers setup`."
    models_by_reason: dict[str, list[str]] = {}
    for considered in selection.rejected:
        models_by_reason.setdefault(considered.reason, []).append(considered.model.name)
    listed = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in models_by_reason.items())
    return f"No model fits. {_best_below(selection.question, selection.rejected)}{listed}."


def _best_below(question: Question, rejected: Sequence[Considered]) -> str:
    """What the floor alone kept out, where that is what it hangs on."""
    below = [one for one in rejected if one.why_not is WhyNot.QUALITY]
    if not below:
        return ""
    best = max(below, key=lambda one: one.model.quality or 0)
    complexity, floor = question.assessment.complexity, question.assessment.floor
    return f"A {complexity} question needs a quality of {floor:.2f}; the best below is {best.model.name}. "
