"""What is done about a field of a request, beside what is told about it: the table is the code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from batchmill.providers.fields import Field, Support
from batchmill.providers.wire import UntranslatableError

Draft = TypeVar("Draft")
Write = Callable[[Draft, Any, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Field, Generic[Draft]):
    """A field and what is done about it.

    Attributes:
        write: Puts a value that is not null into the draft of Gemini's request; takes the field's full name,
            too. Raises UntranslatableError.
    """

    write: Write[Draft]


def mapped(name: str, note: str, write: Write[Draft]) -> Rule[Draft]:
    """A field that Gemini has a word for."""
    return Rule(name=name, support=Support.MAPPED, note=note, write=write)


def refused(name: str, why: str, *, neutral: tuple[Any, ...] = ()) -> Rule[Any]:
    """A field that Gemini has no word for.

    Args:
        why: The rest of the sentence that begins with the field.
        neutral: Values that ask for nothing, and pass.
    """

    def refuse(_: Any, value: Any, param: str) -> None:
        if not any(type(value) is type(nothing) and value == nothing for nothing in neutral):
            raise UntranslatableError(param, why)

    return Rule(name=name, support=Support.ERROR, note=why, write=refuse)


def ignored(name: str, note: str) -> Rule[Any]:
    """A field that cannot change the answer."""
    return Rule(name=name, support=Support.NOT_APPLICABLE, note=note, write=lambda draft, value, param: None)


def follow(rules: Mapping[str, Rule[Draft]], draft: Draft, given: Mapping[str, Any], param: str = "") -> None:
    """Put an object into the draft, member by member, in the order of the rules.

    Args:
        rules: By the members' names.
        param: The object's own full name; "" for the request itself.

    Raises:
        UntranslatableError: A member has no rule, null or not, or its rule says no.
    """
    within = f"{param}." if param else ""
    for name in given:
        if name not in rules:
            raise UntranslatableError(f"{within}{name}", "is a field that Gemini has no word for")
    for name, rule in rules.items():
        if (value := given.get(name)) is not None:
            rule.write(draft, value, f"{within}{name}")
