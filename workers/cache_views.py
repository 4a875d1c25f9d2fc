"""Views of the cache, as JSON shows them. Money is exact dollars as text."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from batchmill.money.nanos import usd_text
from db.cache_contents import Contents, Dropped


def contents_view(found: Mapping[str, Contents]) -> dict[str, Any]:
    """What the cache holds by request type, and altogether."""
    rows = [{"type": name, **exact(one)} for name, one in found.items()]
    return {"rows": rows, "total": exact(total_of(found))}


def total_of(found: Mapping[str, Contents]) -> Contents:
    """All types together."""
    return Contents(
        **{field.name: sum(getattr(one, field.name) for one in found.values()) for field in fields(Contents)}
    )


def exact(one: Contents) -> dict[str, Any]:
    """What it holds of one type."""
    return {
        "entries": one.live + one.expired,
        "live": one.live,
        "expired": one.expired,
        "answer_bytes": one.answer_bytes,
        "requests": one.requests,
        "hits": one.hits,
        "hit_rate": round(one.hits / one.requests, 4) if one.requests else None,
        "saved_usd": usd_text(one.saved_nanos),
    }


def dropped_view(dropped: Dropped, *, is_done: bool) -> dict[str, Any]:
    """What went, or would go."""
    return asdict(dropped) | {"dropped": is_done}
