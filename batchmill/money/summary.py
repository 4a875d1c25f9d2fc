"""Summaries of the ledger: by which columns it is added up, over which entries, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Column(StrEnum):
    """What the ledger can be added up by, in the words of the command line."""

    MODEL = "model"
    PROVIDER = "provider"
    TENANT = "tenant"
    USER = "user"
    AGENT = "agent"
    TYPE = "type"
    ENDPOINT = "endpoint"
    DAY = "day"
    BATCH = "batch"
    JOB = "job"


FILTERS = tuple(column for column in Column if column is not Column.DAY)
"""The columns by whose values entries can be chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which entries of the ledger are looked at.

    Attributes:
        since_ms: The first moment, in milliseconds since 1970; None = from the beginning.
        until_ms: The first moment that is too late; None = to the end.
        only: The value that each of these columns must have; `day` is none of them.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    only: Mapping[Column, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What some entries of the ledger come to.

    Attributes:
        requests: Different requests that they are of.
        calls: Calls that came to their end.
        hits: Requests answered without a call.
        unknown: The part of the calls of which it is still not known what became of them.
        unpriced: Answers whose cost is not known. Neither these nor the unknown calls are in `cost_nanos`.
        input_tokens: The cached ones included.
        cost_nanos: What is known to have been spent.
    """

    requests: int
    calls: int
    hits: int
    unknown: int
    unpriced: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The entries that have the same values in the columns asked for.

    Attributes:
        names: The values, in the order in which the columns were asked for.
    """

    names: Mapping[Column, str]
    sums: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Groups, and the total over all of them.

    Attributes:
        total: Counted anew and not added up: a request may be in several groups.
    """

    groups: tuple[Group, ...]
    total: Sums
