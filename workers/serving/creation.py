"""Creation: a batch is made from a file that was uploaded; reading it is the clerk's."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from batchmill.errors import NotFoundError, ParameterError
from batchmill.files.model import Purpose
from batchmill.requests.model import BatchOptions, Endpoint
from db import batches, hosted, webhooks
from db import files as file_rows
from db.engine import Transaction
from workers.budgets import define_environment_budgets, grant_budget
from workers.serving import files
from workers.serving.idempotency import Named
from workers.serving.service import Service
from workers.serving.webhooks import check_target


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedBatch:
    """What a producer asks for.

    Attributes:
        input_file: The public name of the file with its requests.
        window_s: After so long what has not been answered expires.
        output_expires_s: After so long its files are removed; None = never.
        webhook_url: Whom to tell when it has ended; "" = nobody.
    """

    input_file: str
    endpoint: Endpoint
    window_s: int
    options: BatchOptions
    metadata: Mapping[str, str] = field(default_factory=dict)
    output_expires_s: int | None = None
    webhook_url: str = ""

    def fingerprint(self) -> str:
        """What tells it from another."""
        told = orjson.dumps(
            [
                self.input_file,
                self.endpoint,
                self.window_s,
                self.options,
                dict(self.metadata),
                self.output_expires_s,
                self.webhook_url,
            ],
            option=orjson.OPT_SORT_KEYS,
        )
        return hashlib.sha256(told).hexdigest()


def create(service: Service, wanted: WantedBatch, idempotency_key: str | None = None) -> Any:
    """A new batch in `validating`, or the one that was made under the same name before; its row.

    Raises:
        NotFoundError: The tenant has no such file.
        ParameterError: That file is not one of requests, or its webhook could not be delivered.
        ReusedKeyError: The name was given to another request.
    """
    tenant = wanted.options.tenant
    file = files.named(service.database, wanted.input_file, tenant)
    if file.purpose != Purpose.BATCH:
        raise ParameterError(
            f"Invalid value: the file '{file.public_id}' has the purpose '{file.purpose}'; it has to be 'batch'.",
            "input_file_id",
        )
    if wanted.webhook_url:
        check_target(service.settings, wanted.webhook_url, to_private=service.posts_to_private)
    define_environment_budgets(service.database, service.settings)
    named = Named.batch(tenant, idempotency_key, wanted.fingerprint())
    with service.database.write() as tx:
        known = named.known(tx)
        return known if known is not None else named.note(tx, _make(tx, wanted))


def _make(tx: Transaction, wanted: WantedBatch) -> Any:
    if not file_rows.hold(tx, wanted.input_file, wanted.options.tenant):
        raise NotFoundError(f"No such File object: {wanted.input_file}")
    made = batches.create(tx, wanted.options, deadline_ms=tx.now_ms + wanted.window_s * 1000)
    row = hosted.describe(
        tx,
        made.id,
        input_file=wanted.input_file,
        endpoint=wanted.endpoint,
        window_s=wanted.window_s,
        output_expires_s=wanted.output_expires_s,
        metadata=orjson.dumps(dict(wanted.metadata)).decode() if wanted.metadata else "",
    )
    grant_budget(tx, row, wanted.options)
    if wanted.webhook_url:
        webhooks.owe(tx, row.id, wanted.webhook_url)
    return row
