"""Views of the cache, as JSON shows them. Money is exact dollars as text."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from decimal import Decimal
from typing import Any

from batchmill.cache.room import Room
from batchmill.cache.verdicts import BOUNDS, Figure, Sums, verdict_of
from batchmill.cache.worth import nanos_per_kb
from batchmill.money.nanos import NANOS_PER_USD, usd_text
from batchmill.requests.jsonl import MB
from db.cache_contents import Contents
from db.cache_drops import Dropped
from workers.cache_upkeep import CleanUp

_PER_MB = 1_000


def contents_view(found: Mapping[str, Contents], room: Room) -> dict[str, Any]:
    """What the cache holds by request type, and altogether; what it may hold; and by which bounds it is judged."""
    rows = [{"type": name, **exact(one)} for name, one in found.items()]
    bounds = {
        figure.value: {"good": float(bounds.good), "fair": float(bounds.fair)}
        for figure, bounds in BOUNDS.items()
    }
    return {"rows": rows, "total": exact(total_of(found)), "room": room_view(room), "bounds": bounds}


def room_view(room: Room) -> dict[str, int]:
    """The most that it may hold; 0 = without a limit."""
    return {"max_entries": room.max_entries, "max_mb": room.max_bytes // MB}


def total_of(found: Mapping[str, Contents]) -> Contents:
    """All types together."""
    return Contents(
        **{field.name: sum(getattr(one, field.name) for one in found.values()) for field in fields(Contents)}
    )


def exact(one: Contents) -> dict[str, Any]:
    """What it holds of one type."""
    figures, entries = figures_of(one), one.live + one.expired
    return {
        "entries": entries,
        "live": one.live,
        "expired": one.expired,
        "verified": one.verified,
        "answer_bytes": one.answer_bytes,
        "hits_per_entry": round(one.uses / entries, 2) if entries else None,
        "requests": one.requests,
        "hits": one.hits,
        "hit_rate": _rounded(figures[Figure.HIT_RATE]),
        "error_rate": _rounded(figures[Figure.ERROR_RATE]),
        "response_s": _rounded(figures[Figure.RESPONSE_S]),
        "cost_per_request_usd": _usd(figures[Figure.COST_USD]),
        "saved_usd": usd_text(one.saved_nanos),
        "verdicts": {figure.value: verdict_of(figure, value) for figure, value in figures.items()},
    }


def figures_of(one: Contents) -> dict[Figure, Decimal | None]:
    """How well it serves requests of one type."""
    names = [field.name for field in fields(Sums)]
    return Sums(**{name: getattr(one, name) for name in names}).figures()


def _rounded(value: Decimal | None) -> float | None:
    return None if value is None else round(float(value), 4)


def _usd(value: Decimal | None) -> str | None:
    return None if value is None else usd_text(int((value * NANOS_PER_USD).to_integral_value()))


def dropped_view(dropped: Dropped, *, is_done: bool) -> dict[str, Any]:
    """What went, or would go."""
    return asdict(dropped) | {"dropped": is_done}


def clean_up_view(done: CleanUp) -> dict[str, Any]:
    """What went, or would go, and what stays."""
    return {
        "dropped": done.is_done,
        "room": room_view(done.room),
        "held": asdict(done.fitted.held),
        "expired": asdict(done.expired),
        "by_worth": asdict(done.fitted.gone),
        "freed": {"answers": done.freed.answers, "answer_bytes": done.freed.answer_bytes},
        "left": asdict(done.left),
        "cut_usd_per_mb": None if (cut := cut_nanos_per_mb(done)) is None else usd_text(cut),
        "steps": done.steps,
        "longest_step_ms": round(done.longest_step_s * 1_000),
    }


def cut_nanos_per_mb(done: CleanUp) -> int | None:
    """Below which worth, in nano-dollars for each MB, answers went; None where there was room for all."""
    rank = done.fitted.rank
    return None if rank is None else round(nanos_per_kb(rank + 1) * _PER_MB)
