"""What is about to go, as JSON shows it."""

from typing import Any

from batchmill.settings.retention import RetentionSettings
from db.retention.foreseen import Foreseen
from workers.views import time_text


def view(found: Foreseen, kept: RetentionSettings) -> dict[str, Any]:
    """What would go now, by kind, and what is old but stays. `kept_days`: 0 = for ever; of lines and answers null, as
    they go with their batches."""
    days = {
        "batches": kept.batches_days,
        "single_requests": kept.direct_days,
        "ledger_entries": kept.ledger_days,
        "files": kept.files_days,
    }
    going = [
        {
            "kind": kind,
            "kept_days": days.get(kind),
            "count": one.count,
            "bytes": one.bytes,
            "first_at": time_text(one.first_ms),
            "last_at": time_text(one.last_ms),
        }
        for kind, one in found.going.items()
    ]
    return {"going": going, "kept": {"unknown": found.kept_unknown, "webhook_owed": found.kept_webhook}}
