"""Views: marks, as they are shown to people and programs."""

from typing import Any

from db.marks import Standing, tags_of
from workers.views import time_text


def mark_view(row: Any) -> dict[str, Any]:
    """A mark and what it is of; None where that is no longer kept."""
    return {
        "batch": row.public_id,
        "custom_id": row.custom_id,
        "rating": row.rating,
        "verified": row.verified,
        "tags": tags_of(row),
        "by": row.marked_by or None,
        "marked_at": time_text(row.marked_ms),
        "provider": row.provider,
        "model": row.model,
        "type": row.type or None,
        "tenant": row.tenant,
    }


def standing_view(standing: Standing) -> dict[str, Any]:
    """What is marked, in numbers."""
    by_rating = {
        "none" if rating is None else str(rating): times for rating, times in standing.by_rating.items()
    }
    return {
        "marked": standing.total,
        "verified": standing.verified,
        "by_rating": dict(sorted(by_rating.items(), reverse=True)),
    }
