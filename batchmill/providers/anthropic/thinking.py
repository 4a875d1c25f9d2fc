"""How much a model is to think: OpenAI's `reasoning_effort` in the words that each generation of Claude knows.

Facts: the types of Anthropic's SDK 2.14 and platform.claude.com/docs (adaptive thinking, extended thinking, effort).
From Claude 4.6 on a model is told an effort and thinks as it sees fit; from 3.7 to 4.5 it is given a budget of
tokens. Which model knows which effort, and whether it can be told not to think, Anthropic itself says best: a 400.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from batchmill.providers.anthropic.rules import Asked
from batchmill.providers.anthropic.values import a_text, shown
from batchmill.providers.wire import UntranslatableError

LEAST_BUDGET_TOKENS: Final = 1_024

# The first digits of a name that are not a date: claude-3-7-sonnet-20250219, claude-opus-4-20250514.
_VERSION = re.compile(r"(?<![\d.])(\d)(?:[-.](\d))?(?!\d)")
_FIRST_TO_THINK: Final = (3, 7)
_FIRST_ADAPTIVE: Final = (4, 6)

_EFFORTS: Final[Mapping[str, str]] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
_BUDGET_PERCENT: Final[Mapping[str, int]] = {
    "minimal": 10,
    "low": 20,
    "medium": 50,
    "high": 80,
    "xhigh": 90,
    "max": 95,
}

NOTE: Final = (
    "From Claude 4.6 on, `thinking: adaptive` with `output_config.effort`, `minimal` as `low`; before, `thinking: "
    "enabled` with a budget of 10 to 95 % of the longest answer, which must then be above 1,024 tokens. `none` is "
    "`thinking: disabled`. Models before 3.7 do not think: an error. With a temperature or a low top_p: an error."
)


def write_effort(value: Any, asked: Asked) -> Mapping[str, Any]:
    """The part of a request that says how much to think.

    Raises:
        UntranslatableError: No such effort, or no room for it, or a model that cannot think.
    """
    effort = a_text(value, "reasoning_effort")
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if effort not in _EFFORTS:
        raise UntranslatableError("reasoning_effort", f"is no effort that is known: {shown(effort)}")
    version = _version(asked.model)
    if version >= _FIRST_ADAPTIVE:
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": _EFFORTS[effort]}}
    if version < _FIRST_TO_THINK:
        raise UntranslatableError(
            "reasoning_effort", f"cannot be asked of {shown(asked.model)}, which does not think"
        )
    return {"thinking": {"type": "enabled", "budget_tokens": _budget_tokens(effort, asked.max_tokens)}}


def check_thinking(request: Mapping[str, Any]) -> None:
    """Say what cannot go together with thinking.

    Raises:
        UntranslatableError: It does.
    """
    kind = request.get("thinking", {}).get("type")
    if kind not in ("adaptive", "enabled"):
        return
    if "temperature" in request:
        raise UntranslatableError(
            "temperature", "cannot go with reasoning_effort at Anthropic, unless it is 1"
        )
    if request.get("top_p", 1) < 0.95:
        raise UntranslatableError("top_p", "below 0.95 cannot go with reasoning_effort at Anthropic")
    if kind == "enabled" and request.get("tool_choice", {}).get("type") in ("any", "tool"):
        raise UntranslatableError(
            "tool_choice", "cannot demand a call along with reasoning_effort on this model of Anthropic's"
        )


def _budget_tokens(effort: str, max_tokens: int) -> int:
    if max_tokens <= LEAST_BUDGET_TOKENS:
        raise UntranslatableError(
            "reasoning_effort",
            f"needs a longest answer above {LEAST_BUDGET_TOKENS:,} tokens on this model of Anthropic's, "
            f"not {max_tokens:,}",
        )
    return max(max_tokens * _BUDGET_PERCENT[effort] // 100, LEAST_BUDGET_TOKENS)


def _version(model: str) -> tuple[int, int]:
    """Its generation; that of a name without one is taken for a new one."""
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)
