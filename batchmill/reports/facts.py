"""A report as it is kept: its facts as JSON, with amounts in nano-dollars and moments in milliseconds since 1970."""

from functools import cache

from pydantic import TypeAdapter

from batchmill.reports.model import Report


def write_facts(report: Report) -> str:
    """All of it as one JSON document."""
    return _facts().dump_json(report).decode()


def read_facts(text: str) -> Report:
    """The report that was written so. What a later version has added is left out, what it lacks is as if not said."""
    return _facts().validate_json(text)


@cache
def _facts() -> TypeAdapter[Report]:
    return TypeAdapter(Report)
