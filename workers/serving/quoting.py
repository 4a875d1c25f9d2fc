"""Quotes of files that were uploaded, each made by a process of its own: counting tokens keeps a processor busy."""

import subprocess
import sys
import threading
from typing import IO, Any, cast

import orjson

from batchmill.errors import BusyError, InputError
from batchmill.requests.model import BatchOptions
from batchmill.routing.wants import load_wants
from workers.serving import files
from workers.serving.creation import WantedBatch
from workers.serving.service import Service

MOST_AT_A_TIME = 2
LONGEST_S = 600.0
TOLD_CHARACTERS = 2_000

_turns = threading.BoundedSemaphore(MOST_AT_A_TIME)


def quote(service: Service, wanted: WantedBatch) -> Any:
    """What a file will cost as that batch: the document of `batchmill quote --json`. Nothing is sent or written.

    Raises:
        NotFoundError: The tenant has no such file.
        InputError: Its lines are not valid, or it takes too long.
        BusyError: So many quotes are made already.
    """
    file = files.named(service.database, wanted.input_file, wanted.options.tenant)
    if not _turns.acquire(blocking=False):
        raise BusyError(f"{MOST_AT_A_TIME} quotes are being made already", "ask again in a moment")
    try:
        with service.store.open(file.public_id) as content:
            return _asked(service, wanted, content)
    finally:
        _turns.release()


def _asked(service: Service, wanted: WantedBatch, content: IO[bytes]) -> Any:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cli.main", "quote", "-", "--json", *_options(wanted)],
        env=service.environ(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    feeding = threading.Thread(target=_feed, args=(process.stdin, content), daemon=True)
    feeding.start()
    try:
        said, complaint = _communicate(process)
    except subprocess.TimeoutExpired:
        raise InputError("the quote takes too long", "quote a part of the file") from None
    finally:
        process.kill()
        process.wait()
        feeding.join()
    if process.returncode != 0:
        raise InputError(
            complaint.strip()[:TOLD_CHARACTERS].replace("error: ", "") or "the file cannot be quoted"
        )
    return orjson.loads(said)


def _communicate(process: subprocess.Popen[bytes]) -> tuple[bytes, str]:
    process.stdin = None  # it is fed from beside
    said, complaint = process.communicate(timeout=LONGEST_S)
    return said, complaint.decode(errors="replace")


def _feed(pipe: IO[bytes] | None, content: IO[bytes]) -> None:
    with cast(IO[bytes], pipe) as into:
        try:
            while chunk := content.read(1 << 20):
                into.write(chunk)
        except BrokenPipeError:
            pass  # it has seen enough


def _options(wanted: WantedBatch) -> list[str]:
    options: BatchOptions = wanted.options
    told = {
        "--format": "openai",
        "--endpoint": wanted.endpoint.value,
        "--tenant": options.tenant,
        "--cache": options.cache.value,
        "--priority": options.lane.value,
        "--type": options.request_type,
        "--user": options.user,
    }
    words = [f"{name}={value}" for name, value in told.items() if value]
    return [*words, *(f"--fallback={target.name}" for target in load_wants(options.routing).fallback)]
