"""Tiers: what a kind of request prefers, what may take its place, and what a user may not have."""

import pytest

from batchmill.catalogue.entries import Tier
from batchmill.routing.tiers import PREFERRED, tier_rule

CHEAP, NORMAL, PREMIUM = Tier


@pytest.mark.parametrize(
    ("request_type", "preferred"),
    [
        ("quiz", CHEAP),
        ("drill", CHEAP),
        ("podcast", NORMAL),
        ("report", NORMAL),
        ("lesson", NORMAL),
        ("", None),
        ("chat", None),
        ("quizzes", None),
        ("my-quiz", None),
    ],
)
def test_by_type(request_type: str, preferred: Tier | None) -> None:
    """Each type of the table has its tier; others may be answered by any."""
    assert tier_rule(request_type).preferred is preferred


@pytest.mark.parametrize("request_type", ["QUIZ", "quiz-v2", "Quiz:maths", "quiz - hard", " quiz "])
def test_a_variant_of_a_type_is_of_its_tier(request_type: str) -> None:
    """Case does not count, nor what follows a dash or colon."""
    assert tier_rule(request_type).preferred is CHEAP


@pytest.mark.parametrize(
    ("request_type", "order"),
    [
        ("quiz", (CHEAP, NORMAL, PREMIUM)),
        ("report", (NORMAL, PREMIUM, CHEAP)),
        ("", (CHEAP, NORMAL, PREMIUM)),
    ],
)
def test_what_takes_its_place(request_type: str, order: tuple[Tier, ...]) -> None:
    """First what is better, then what is cheaper."""
    assert tier_rule(request_type).order == order


def test_a_type_that_prefers_premium(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is cheaper the nearest comes first."""
    monkeypatch.setitem(PREFERRED, "thesis", PREMIUM)
    assert tier_rule("thesis").order == (PREMIUM, NORMAL, CHEAP)


@pytest.mark.parametrize("asked", ["wants_premium", "wants_deep_reasoning"])
def test_premium_that_was_asked_for_is_kept_or_refused(asked: str) -> None:
    """It goes before the type, and nothing takes its place."""
    rule = tier_rule("quiz", **{asked: True})
    assert rule.order == (PREMIUM,)


@pytest.mark.parametrize(
    ("request_type", "cap", "order"),
    [
        ("", CHEAP, (CHEAP,)),
        ("", NORMAL, (CHEAP, NORMAL)),
        ("quiz", NORMAL, (CHEAP, NORMAL)),
        ("report", NORMAL, (NORMAL, CHEAP)),
        ("report", CHEAP, (CHEAP,)),
        ("report", PREMIUM, (NORMAL, PREMIUM, CHEAP)),
    ],
)
def test_the_users_tier_is_a_cap(request_type: str, cap: Tier, order: tuple[Tier, ...]) -> None:
    """Nothing above it is looked at, whatever the type prefers."""
    rule = tier_rule(request_type, user_tier=cap)
    assert rule.order == order
    assert [tier for tier in Tier if rule.allows(tier)] == sorted(order, key=list(Tier).index)


def test_who_wants_more_than_they_may_have_gets_what_they_may() -> None:
    """The best that is allowed, and it is told why."""
    rule = tier_rule("", wants_premium=True, user_tier=NORMAL)
    assert (rule.preferred, rule.order) == (NORMAL, (NORMAL,))
    assert rule.why == "premium quality is asked for, but its user may have normal at most"


@pytest.mark.parametrize(
    ("request_type", "why"),
    [
        ("Quiz-v2", "type quiz prefers cheap"),
        ("chat", "type chat prefers none"),
        ("", "a request without a type prefers none"),
    ],
)
def test_why_is_told(request_type: str, why: str) -> None:
    """Where the rule is from."""
    assert tier_rule(request_type).why == why
