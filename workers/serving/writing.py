"""Writing: the files that a batch handed in over HTTP owes its producer, once all its lines have ended."""

from contextlib import ExitStack
from typing import Any

from batchmill.failpoints import Failpoint, reached
from batchmill.files.model import Purpose
from db import hosted
from workers.delivery import ended_lines
from workers.serving.batch_object import usage_text
from workers.serving.files import Upload
from workers.serving.lease import Lease, LostError
from workers.serving.service import Service


def write(service: Service, lease: Lease) -> None:
    """Write them, an empty one not at all, and end the batch. Done twice, one of both is kept.

    Raises:
        StoreError, DatabaseError: They could not be written; nothing is left of them.
        StoppedError, LostError: As the lease has it; the same.
    """
    row = lease.row
    with ExitStack() as stack:
        uploads: dict[bool, Upload] = {}
        for line, is_answered in ended_lines(service.database, row):
            lease.check()
            if is_answered not in uploads:
                uploads[is_answered] = stack.enter_context(_upload(service, row, is_answered))
            uploads[is_answered].write(line)
            reached(Failpoint.IN_DELIVERY)
        for upload in uploads.values():
            upload.seal()
        reached(Failpoint.BEFORE_FINISH)
        _finish(service, lease, uploads)


def _finish(service: Service, lease: Lease, uploads: dict[bool, Upload]) -> None:
    usage = _usage(service, lease.row)
    with service.database.write() as tx:
        names = {is_answered: upload.enter(tx).public_id for is_answered, upload in uploads.items()}
        ended = hosted.finish(
            tx,
            lease.row.id,
            lease.clerk,
            output_file=names.get(True, ""),
            error_file=names.get(False, ""),
            usage=usage,
        )
        if ended is None:
            raise LostError("another clerk has ended this batch")


def _usage(service: Service, row: Any) -> str:
    if not row.calls:
        return ""
    with service.database.read() as tx:
        return usage_text(hosted.tokens(tx, row))


def _upload(service: Service, row: Any, is_answered: bool) -> Upload:
    return Upload(
        service.database,
        service.store,
        tenant=row.tenant,
        purpose=Purpose.BATCH_OUTPUT,
        filename=f"{row.public_id}_{'output' if is_answered else 'error'}.jsonl",
        expires_s=row.output_expires_s,
    )
