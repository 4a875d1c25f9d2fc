"""Findings, as every admin endpoint that checks something tells them."""

from pydantic import BaseModel

from batchmill.findings import Level


class ExampleBody(BaseModel):
    """One place where something was found."""

    batch: str | None
    place: int | None
    attempt: int | None
    detail: str


class FindingBody(BaseModel):
    """What one check found; promises have numbers."""

    check: str
    level: Level
    message: str
    invariant: int | None
    examples: list[ExampleBody]
    has_more: bool
    hint: str
