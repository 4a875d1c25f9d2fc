"""A report as JSON shows it. Money is exact dollars as text, times are ISO 8601 in UTC."""

from dataclasses import fields, is_dataclass
from typing import Any

from batchmill.alerts.message import utc_text
from batchmill.money.nanos import usd_text
from batchmill.reports.model import Report
from batchmill.reports.verdict import verdict_of

_MOMENTS = {
    "start_ms": "since",
    "end_ms": "until",
    "made_ms": "made_at",
    "since_ms": "since",
    "checked_ms": "checked_at",
    "runs_out_ms": "runs_out_at",
}
_PERCENTS = ("used_percent", "hit_percent")


def report_view(report: Report) -> dict[str, Any]:
    """All of it."""
    period = report.period
    shown: dict[str, Any] = {"verdict": verdict_of(report), "name": period.name, "title": period.title}
    return shown | _object(report)


def _object(thing: Any) -> dict[str, Any]:
    shown = dict(_field(field.name, getattr(thing, field.name)) for field in fields(thing))
    return shown | {name: getattr(thing, name) for name in _PERCENTS if hasattr(thing, name)}


def _field(name: str, value: Any) -> tuple[str, Any]:
    if name.endswith("_nanos"):
        return name.removesuffix("_nanos") + "_usd", None if value is None else usd_text(value)
    if name in _MOMENTS:
        return _MOMENTS[name], None if value is None else utc_text(value)
    if is_dataclass(value):
        return name, _object(value)
    if isinstance(value, tuple):
        return name, [_object(one) if is_dataclass(one) else one for one in value]
    return name, value
