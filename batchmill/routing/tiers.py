"""Tiers: which models are preferred for which kind of request, and which a user may not have.

A rule names the tier that is preferred. Models of that tier alone are chosen from; where none of them fits, those of
the next tier above, then of the next, and only then those below, the nearest first: the floor of quality holds
everywhere, so below means cheaper and not worse than the question needs.

Premium that was asked for (`quality`, `deep_reasoning`) is kept or refused, never quietly given up: there is nothing
above it, and nothing below is looked at.

The user's tier is a hard cap, above whatever a request wants: who wants premium and may have normal gets normal.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from batchmill.catalogue.entries import Tier

PREFERRED: Mapping[str, Tier] = {
    "quiz": Tier.CHEAP,
    "drill": Tier.CHEAP,
    "podcast": Tier.NORMAL,
    "report": Tier.NORMAL,
    "lesson": Tier.NORMAL,
}
"""The tier for a request type, in lower case; other types may be answered by any."""

_RANKS = {tier: rank for rank, tier in enumerate(Tier)}
_VARIANT = re.compile(r"[-:]")


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRule:
    """Which tiers are chosen from, in which order.

    Attributes:
        preferred: The first of them; None = all are looked at together.
        order: Each is looked at when none before it has a model that fits.
        cap: The highest that the user may have; None = any.
        why: Where the rule is from, for people.
    """

    preferred: Tier | None
    order: tuple[Tier, ...]
    cap: Tier | None
    why: str

    def allows(self, tier: Tier) -> bool:
        """Whether the user may have a model of this tier."""
        return self.cap is None or _RANKS[tier] <= _RANKS[self.cap]


def tier_rule(
    request_type: str,
    *,
    wants_premium: bool = False,
    wants_deep_reasoning: bool = False,
    user_tier: Tier | None = None,
) -> TierRule:
    """Return the rule for a request.

    Args:
        user_tier: The highest tier that its user may have; None = any.
    """
    allowed = tuple(tier for tier in Tier if user_tier is None or _RANKS[tier] <= _RANKS[user_tier])
    is_asked_for = wants_premium or wants_deep_reasoning
    if is_asked_for:
        wanted, why = Tier.PREMIUM, "premium quality" if wants_premium else "deep reasoning"
        why = f"{why} is asked for"
    else:
        found = _preferred(request_type)
        if found is None:
            kind = f"type {request_type}" if request_type else "a request without a type"
            return TierRule(preferred=None, order=allowed, cap=user_tier, why=f"{kind} prefers none")
        name, wanted = found
        why = f"type {name} prefers {wanted}"
    best = allowed[-1]
    preferred = min(wanted, best, key=_RANKS.__getitem__)
    if preferred is not wanted:
        why = f"{why}, but its user may have {best} at most"
    order = (preferred,) if is_asked_for else _order(preferred, allowed)
    return TierRule(preferred=preferred, order=order, cap=user_tier, why=why)


def _preferred(request_type: str) -> tuple[str, Tier] | None:
    """The name in the table, and its tier: the whole name first, then what stands before a dash or colon."""
    whole = request_type.strip().casefold()
    for name in (whole, _VARIANT.split(whole, maxsplit=1)[0].strip()):
        if name in PREFERRED:
            return name, PREFERRED[name]
    return None


def _order(preferred: Tier, allowed: tuple[Tier, ...]) -> tuple[Tier, ...]:
    at = allowed.index(preferred)
    return (*allowed[at:], *reversed(allowed[:at]))
