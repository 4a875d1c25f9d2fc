"""Part `service`: files and batches over HTTP: how fast they come in, and what the processes hold meanwhile."""

import hashlib
import http.client
import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.processes import children_of, command_of, forget_peak, peak_bytes, resident_bytes
from benchmarks.runs import PATIENCE_S, BenchmarkError
from benchmarks.stage import Home, Provider, Stage
from benchmarks.store import Store
from tests.support.http_client import BOUNDARY, HttpClient, start_service

MB = 1_000_000
BLOCK = 1 << 16
WARM_UP_LINES = 100
INGEST = "{}: over HTTP, from an upload's first byte until the batch starts, lines/s"
UPLOAD, UPLOADS = "a large upload", "uploads at once"
BATCH = "a large batch and its files"
GROWS = "{}: {} grows by, MB"
WEB, CLERK = "web process", "clerk's process"

TARGETS: Mapping[str, AtLeast | AtMost] = {
    **{INGEST.format(store): AtLeast(20_000) for store in Store},
    GROWS.format(UPLOAD, WEB): AtMost(50),
    GROWS.format(BATCH, WEB): AtMost(50),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A service that answers.

    Attributes:
        pids: Of its processes, by the part they play.
    """

    client: HttpClient
    pids: Mapping[str, int]

    def send(self, path: Path, purpose: str = "batch") -> str:
        """Upload a file as it is read; its name."""
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
        ).encode()
        tail = f"\r\n--{BOUNDARY}--\r\n".encode()
        with closing(http.client.HTTPConnection(self.client.url.removeprefix("http://"))) as connection:
            connection.putrequest("POST", "/v1/files")
            connection.putheader("content-type", f"multipart/form-data; boundary={BOUNDARY}")
            connection.putheader("authorization", f"Bearer {self.client.token}")
            connection.putheader("content-length", str(len(head) + path.stat().st_size + len(tail)))
            connection.endheaders(head)
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    connection.send(block)
            connection.send(tail)
            response = connection.getresponse()
            told = json.loads(response.read())
        if response.status != 200:
            raise BenchmarkError(f"an upload failed: {told}")
        return str(told["id"])

    def sha256(self, file: str) -> tuple[str, int]:
        """Of what is in a file, as it streams by, and its lines."""
        digest, lines = hashlib.sha256(), 0
        with closing(http.client.HTTPConnection(self.client.url.removeprefix("http://"))) as connection:
            headers = {"authorization": f"Bearer {self.client.token}"}
            connection.request("GET", f"/v1/files/{file}/content", headers=headers)
            response = connection.getresponse()
            while block := response.read(BLOCK):
                digest.update(block)
                lines += block.count(b"\n")
        return digest.hexdigest(), lines

    def wait(self, batch: str, until: tuple[str, ...]) -> dict[str, Any]:
        """A batch once it is in one of these states."""
        deadline = time.monotonic() + PATIENCE_S
        while (shown := self.client.batch(batch))["status"] not in until:
            if shown["status"] in ("failed", "expired") or time.monotonic() > deadline:
                raise BenchmarkError(f"the batch is {shown['status']}: {shown['errors']}")
            time.sleep(0.02 if "in_progress" in until else 0.5)
        return shown


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """Ingest on each database, a batch answered to its end on SQLite, and uploads."""
    for store in stage.sizes.stores:
        with serving(stage, store, stage.provider()) as running:
            yield Part.SERVICE, {INGEST.format(store): _ingest(stage, running)[1]}
    with serving(stage, Store.SQLITE, stage.provider(), command="up") as running:
        yield Part.SERVICE, _large_upload(stage, running)
        yield Part.SERVICE, _many_uploads(stage, running)
        yield Part.SERVICE, _large_batch(stage, running)


@contextmanager
def serving(stage: Stage, store: Store, provider: Provider, *, command: str = "serve") -> Iterator[Running]:
    """A service on a home of its own, warm; `up` has a worker beside it, on a shared database one of its own."""
    with stage.home(store, provider) as home:
        if command == "up" and store is Store.POSTGRESQL:
            home.mill.environ["BROKER_URL"] = stage.valkey_url
            home.mill.start("worker", log=stage.log)
            command = "serve"
        home.mill.environ["BATCHMILL_KEYS_SECRET"] = "k" * 32  # a shared database asks for one
        client = start_service(home.mill, command=command)
        if store is Store.POSTGRESQL:
            client = HttpClient(url=client.url, token=_key(home))
        running = Running(client=client, pids=_pids(home))
        warm_up = running.client.create(running.send(stage.batch_file(WARM_UP_LINES)))
        running.wait(warm_up["id"], ("in_progress", "finalizing", "completed"))
        yield running


def _key(home: Home) -> str:
    done = home.mill("keys", "create", "--json")
    if done.returncode:
        raise BenchmarkError(done.stderr)
    return str(json.loads(done.stdout)["key"])


def _pids(home: Home) -> dict[str, int]:
    launcher = home.mill.started[-1].pid
    (web,) = [pid for pid in children_of(launcher) if "--front" in command_of(pid)]
    return {WEB: web, CLERK: launcher}


@contextmanager
def _grown(running: Running, what: str) -> Iterator[dict[str, float]]:
    """By how much the processes' memory rises above what it was, at its highest."""
    grown: dict[str, float] = {}
    before = {}
    for name, pid in running.pids.items():
        forget_peak(pid)
        before[name] = resident_bytes(pid)
    yield grown
    for name, pid in running.pids.items():
        grown[GROWS.format(what, name)] = max(0, peak_bytes(pid) - before[name]) / MB


def _ingest(stage: Stage, running: Running) -> tuple[str, float]:
    """Hand a large file in; its batch, and lines a second until that has started."""
    path = stage.batch_file(stage.sizes.many_lines)
    begun = time.monotonic()
    batch = running.client.create(running.send(path))["id"]
    running.wait(batch, ("in_progress", "finalizing", "completed"))
    return batch, stage.sizes.many_lines / (time.monotonic() - begun)


def _large_upload(stage: Stage, running: Running) -> Samples:
    path = stage.folder / "large"
    with path.open("wb") as file:
        for _ in range(stage.sizes.upload_mb):
            file.write(os.urandom(MB))
    with _grown(running, UPLOAD) as grown:
        begun = time.monotonic()
        name = running.send(path, "user_data")
        taken_s = time.monotonic() - begun
        _require(running, name, path)
    return grown | {f"{UPLOAD}: taken in within, s": taken_s}


def _many_uploads(stage: Stage, running: Running) -> Samples:
    paths = [stage.folder / f"upload-{nth}" for nth in range(stage.sizes.uploads)]
    for path in paths:
        path.write_bytes(os.urandom(stage.sizes.upload_mb * MB // len(paths)))
    with _grown(running, UPLOADS) as grown, ThreadPoolExecutor(len(paths)) as pool:
        begun = time.monotonic()
        names = [*pool.map(lambda path: running.send(path, "user_data"), paths)]
        taken_s = time.monotonic() - begun
        for name, path in zip(names, paths, strict=True):
            _require(running, name, path)
    return grown | {f"{UPLOADS}: all taken in within, s": taken_s}


def _require(running: Running, name: str, path: Path) -> None:
    with path.open("rb") as file:
        if running.sha256(name)[0] != hashlib.file_digest(file, "sha256").hexdigest():
            raise BenchmarkError(f"{path.name} is not what was sent")


def _large_batch(stage: Stage, running: Running) -> Samples:
    """Answered to its end, with workers beside it, and its file downloaded."""
    with _grown(running, BATCH) as grown:
        batch, _ = _ingest(stage, running)
        shown = running.wait(batch, ("completed",))
        lines = running.sha256(shown["output_file_id"])[1]
        if lines != stage.sizes.many_lines:
            raise BenchmarkError(f"{lines} lines came out of {stage.sizes.many_lines}")
    return grown
