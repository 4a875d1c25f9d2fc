"""The service as its clerks see it, without its processes: files are put into it, batches made of them."""

from pathlib import Path
from typing import Any

import orjson

from batchmill.files.model import Purpose
from batchmill.files.store import Store
from batchmill.providers.base import Reply
from batchmill.requests.model import BatchOptions, Endpoint
from batchmill.settings import Settings
from db import batches
from db import files as file_rows
from db.engine import Database
from tests.support.hands import Worker, all_batches
from tests.support.replies import ANSWERED
from workers.serving import creation
from workers.serving.audience import Audience
from workers.serving.batch_object import batch_object
from workers.serving.files import Upload
from workers.serving.keys import Keyring
from workers.serving.service import Service

TENANT = "local"


def service_on(database: Database, settings: Settings) -> Service:
    """A service on that database, its files in the home."""
    store = Store(settings.service.store_url(settings.home))
    return Service(
        settings=settings,
        database=database,
        store=store,
        keyring=Keyring(database, b"k" * 32),
        audience=Audience(database, batch_object),
        is_keyless=True,
    )


def line_of(name: str, model: str = "gpt-4o-mini", **changed: Any) -> bytes:
    """A line of OpenAI's batch input."""
    body = {"model": model, "messages": [{"role": "user", "content": name}]}
    line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body} | changed
    return orjson.dumps(line) + b"\n"


def put_file(service: Service, data: bytes, *, tenant: str = TENANT, **told: Any) -> str:
    """A file that was uploaded; its public name."""
    told = {"purpose": Purpose.BATCH, "filename": "in.jsonl"} | told
    with Upload(service.database, service.store, tenant=tenant, **told) as upload:
        upload.write(data)
        upload.seal()
        with service.database.write() as tx:
            return str(upload.enter(tx).public_id)


def hand_in(service: Service, data: bytes, *, window_s: int = 86_400, **asked: Any) -> int:
    """A batch of that file, in `validating`; its row number."""
    return create(service, put_file(service, data), window_s=window_s, **asked)


def create(
    service: Service, file: str, *, window_s: int = 86_400, output_expires_s: int | None = None
) -> int:
    """A batch of a file that is there."""
    wanted = creation.WantedBatch(
        input_file=file,
        endpoint=Endpoint.CHAT,
        window_s=window_s,
        options=BatchOptions(tenant=TENANT),
        output_expires_s=output_expires_s,
    )
    return int(creation.create(service, wanted).id)


def answer_all(database: Database, reply: Reply = ANSWERED, most: int = 1_000) -> None:
    """Answer what can be claimed, whomever it is meant for, up to so many lines."""
    worker = Worker(database)
    upstreams = [row.upstream for row in all_batches(database)]
    worker.answer(reply, *worker.take(most, upstreams=upstreams))


def row_of(service: Service, batch: int) -> Any:
    """The row of a batch."""
    with service.database.read() as tx:
        return batches.rows(tx, [batch])[batch]


def content_of(service: Service, file: str) -> list[dict[str, Any]]:
    """The lines of a result file."""
    with service.database.read() as tx:
        assert file_rows.named(tx, file, TENANT) is not None, f"no file {file}"
    return [orjson.loads(line) for line in b"".join(service.store.read(file)).splitlines()]


def objects(settings: Settings) -> list[str]:
    """What is in the store."""
    folder = Path(settings.service.store_url(settings.home))
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
