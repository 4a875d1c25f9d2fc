"""Limits: the gate of a worker process, and the limits in force."""

import time
from collections.abc import Mapping
from hashlib import blake2b

from batchmill.limits.gate import Gate
from batchmill.limits.memory import MemoryLimiter
from batchmill.limits.model import Limiter, Limits
from batchmill.metering.meter import Meter
from batchmill.settings import Settings
from db import limits
from db.engine import Transaction

_REDIS = ("redis://", "rediss://", "redis+socket://", "unix://")


def make_gate(settings: Settings, *, concurrency: int, meter: Meter | None = None) -> Gate:
    """The gate of one process; its limits are shared over Redis or Valkey where there is one.

    Where there is none, tell it how many processes divide them (`Gate.divide`); they come and go.

    Args:
        concurrency: Calls in flight in this process: half of them may wait for one model.
        meter: Counts who has to wait.
    """
    return Gate(
        _limiter(settings),
        accounts={
            name: [_id_of(key.get_secret_value()) for key in account.api_keys] or ["none"]
            for name, account in settings.providers.items()
        },
        room=concurrency // 2,
        clock=time.monotonic,
        meter=meter,
    )


def limits_in_force(tx: Transaction) -> Mapping[tuple[str, str], Limits]:
    """What is set, by provider and model; "" is a provider as a whole."""
    return {
        (entry.provider, entry.model): Limits(
            requests=entry.rpm,
            tokens=entry.tpm,
            input_tokens=entry.input_tpm,
            output_tokens=entry.output_tpm,
            concurrency=entry.concurrency,
        )
        for entry in limits.entries(tx)
    }


def _limiter(settings: Settings) -> Limiter:
    url = settings.limits.url or settings.broker.url
    if url is not None and url.startswith(_REDIS):
        from batchmill.limits.fallback import connect  # slow to import

        return connect(url, share=1)
    return MemoryLimiter(time.monotonic)


def _id_of(key: str) -> str:
    """What tells one key from another, and not what it is."""
    return blake2b(key.encode(), digest_size=6, person=b"batchmill").hexdigest()
