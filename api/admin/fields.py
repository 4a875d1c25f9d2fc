"""What the fields of admin requests may be: text that can be stored, amounts of dollars."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from batchmill.budgets.limits import HIGHEST_USD, limit_nanos


def _in_one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it has to be one line of text")
    return text


def _nanos(amount: object) -> int:
    if isinstance(amount, str):
        return limit_nanos(amount)
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise ValueError("it has to be US dollars, as text or as a number")
    return limit_nanos(format(Decimal(repr(amount)), "f"))


Words = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]
"""Text that both databases can hold."""

Name = Annotated[
    str,
    StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", strip_whitespace=True),
    AfterValidator(_in_one_line),
]
"""A name for the books, as the command line takes it."""

Point = Annotated[
    str,
    Field(max_length=100, description="A date, an ISO time, or a span back from now: 24h, 7d."),
]

_Written = (
    Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}(\.[0-9]{1,9})?$")]
    | Annotated[float, Field(ge=0, le=HIGHEST_USD)]
)
Dollars = Annotated[
    int,
    BeforeValidator(_nanos, json_schema_input_type=_Written),
    Field(description="US dollars, as decimal text (exact) or as a number."),
]
"""Becomes nano-dollars."""
