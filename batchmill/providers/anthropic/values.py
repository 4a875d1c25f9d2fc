"""Reading JSON that anybody may have written: a value of the right type, or an error that names its field."""

from collections.abc import Collection, Mapping
from typing import Any

from batchmill.providers.wire import UntranslatableError

_LONGEST_SHOWN = 40


def a_text(value: Any, param: str) -> str:
    """The value if it is text.

    Raises:
        UntranslatableError: It is something else, as in all of these functions.
    """
    if not isinstance(value, str):
        raise UntranslatableError(param, "must be text")
    return value


def a_flag(value: Any, param: str) -> bool:
    """The value if it is true or false."""
    if not isinstance(value, bool):
        raise UntranslatableError(param, "must be true or false")
    return value


def a_number(value: Any, param: str, least: float, most: float) -> float:
    """The value, as it was written, if it is a number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise UntranslatableError(param, f"must be a number from {least:g} to {most:g} at Anthropic")
    return value


def a_count(value: Any, param: str) -> int:
    """The value if it is a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UntranslatableError(param, "must be a whole number of 1 or more")
    return value


def a_list(value: Any, param: str) -> list[Any]:
    """The value if it is a list."""
    if not isinstance(value, list):
        raise UntranslatableError(param, "must be a list")
    return value


def an_object(value: Any, param: str, known: Collection[str] | None = None) -> Mapping[str, Any]:
    """The value if it is an object; what is null in it is left out.

    Args:
        known: The only fields it may have; None takes any, nulls too.
    """
    if not isinstance(value, dict):
        raise UntranslatableError(param, "must be an object")
    if known is None:
        return value
    said = {name: part for name, part in value.items() if part is not None}
    for name in said:
        if name not in known:
            raise UntranslatableError(f"{param}.{shown(name)}", "is not known for Anthropic; leave it out")
    return said


def shown(value: Any) -> str:
    """The value for a message, cut where it is long."""
    text = value if isinstance(value, str) else f"{value}"
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
