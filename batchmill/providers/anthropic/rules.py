"""What becomes of a field, as data: the sentence for people beside the function that does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from batchmill.providers.fields import Field, Support
from batchmill.providers.wire import UntranslatableError

Writer = TypeVar("Writer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The request that a field is part of, for the fields that hang on others.

    Attributes:
        max_tokens: The longest answer, which Anthropic must be told.
    """

    body: Mapping[str, Any]
    model: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Row(Generic[Writer]):
    """One field and how it is written."""

    field: Field
    write: Writer


Rule = Row[Callable[[Any, Asked], Mapping[str, Any]]]
"""Writes a field's value as the part of Anthropic's request that it amounts to."""


def mapped(name: str, note: str) -> Field:
    """A field that Anthropic has a word for."""
    return Field(name=name, support=Support.MAPPED, note=note)


def unsaid(name: str, note: str) -> Field:
    """A field that Anthropic has no word for. Its note ends the sentence that the name begins."""
    return Field(name=name, support=Support.ERROR, note=note)


def idle(name: str, note: str) -> Field:
    """A field that cannot change the answer and that Anthropic has no word for."""
    return Field(name=name, support=Support.NOT_APPLICABLE, note=note)


def said(name: str, note: str, write: Callable[[Any, Asked], Mapping[str, Any]], *usual: Any) -> Rule:
    """The rule of a field that Anthropic has a word for.

    Args:
        usual: Values that ask for what happens anyway; they are left out.
    """
    return Row(mapped(name, note), lambda value, asked: {} if _among(value, usual) else write(value, asked))


def refused(name: str, note: str, *usual: Any) -> Rule:
    """The rule of a field that Anthropic has no word for.

    Args:
        usual: Values that ask for what happens anyway; they are accepted.
    """
    return Row(
        unsaid(name, note),
        lambda value, asked: {} if _among(value, usual) else _refuse(name, note),
    )


def accepted(name: str, note: str, check: Callable[[Any, str], object]) -> Rule:
    """The rule of a field that cannot change the answer and that Anthropic has no word for.

    Args:
        check: Raises on what is no value of the field.
    """

    def write(value: Any, asked: Asked) -> Mapping[str, Any]:
        check(value, name)
        return {}

    return Row(idle(name, note), write)


def fields_of(*tables: Mapping[Any, Row[Any]]) -> dict[str, Field]:
    """The rows of several tables by their names."""
    return {row.field.name: row.field for table in tables for row in table.values()}


def by_name(*rules: Rule) -> Mapping[str, Rule]:
    """A table of rules."""
    return {rule.field.name: rule for rule in rules}


def _among(value: Any, usual: tuple[Any, ...]) -> bool:
    # True is 1 to Python, but not to a provider.
    return any(isinstance(value, bool) is isinstance(one, bool) and value == one for one in usual)


def _refuse(name: str, note: str) -> NoReturn:
    raise UntranslatableError(name, note)
