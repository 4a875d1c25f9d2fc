"""The service, roughly handled: killed, left half-way, stormed; what it accepted is done, and nothing else is left."""

import json
import os
import random
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.http_client import BOUNDARY, HttpClient, form_of, names, sha256, start_service
from tests.support.mill import Mill, Sandbox, chat_line, sandbox, wait_until

CLIENTS = int(os.environ.get("CHAOS_CLIENTS", "4"))
KILLS = int(os.environ.get("CHAOS_KILLS", "2"))
LINES = 15
PAUSE_S = 0.5
"""Between two batches of a client: on a slow machine, too, only so many are to be answered in the end."""


def lines_of(name: str, number: int = LINES) -> bytes:
    return "".join(chat_line(f"{name}-{nth}", f"{name} {nth}?") + "\n" for nth in range(number)).encode()


def objects(mill: Mill) -> set[str]:
    folder = mill.home / "files"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def doctor(mill: Mill, witness: Sandbox) -> None:
    """The doctor finds nothing to complain of, not even beside what the provider saw."""
    told = json.loads(mill.quickly("doctor", "--json", "--witness", str(witness.log)).stdout)
    assert [finding for finding in told["findings"] if finding["level"] == "failure"] == []


def stop(mill: Mill) -> None:
    """As one does, and nothing is left of it."""
    down = mill.quickly("down")
    assert down.returncode == 0, down.stderr
    wait_until(lambda: not mill.processes(), 30)


class Producer(threading.Thread):
    """One who goes on handing batches in until told to stop, and waits for each."""

    def __init__(self, client: HttpClient, name: str) -> None:
        super().__init__(name=name)
        self.client = client
        self.batches: dict[str, str] = {}
        self.error: BaseException | None = None
        self.is_over = threading.Event()

    def run(self) -> None:
        try:
            nth = 0
            while not self.is_over.is_set():
                name = f"{self.name}-{nth}"
                file = self.client.upload(lines_of(name))
                self.batches[name] = self.client.create(file["id"])["id"]
                if nth % 2:
                    self.client.ended(self.batches[name], within_s=110)
                nth += 1
                self.is_over.wait(PAUSE_S)
        except BaseException as error:
            self.error = error


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(int(os.environ.get("SEEDS", "1"))))
def test_killed_again_and_again(mill: Mill, tmp_path: Path, seed: int) -> None:
    """Whatever was accepted before a kill -9 of everything is completed after it, each line once, all books sound."""
    chance = random.Random(seed)
    with sandbox(tmp_path, "--latency", "0.05-0.3", "--seed", str(seed)) as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        client = replace(start_service(mill), patience_s=100)
        port = int(client.url.rpartition(":")[2])
        producers = [Producer(client, f"p{nth}") for nth in range(CLIENTS)]
        for producer in producers:
            producer.start()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.5, 4))
            mill.kill_everything()
            start_service(mill, port=port)
        for producer in producers:
            producer.is_over.set()
        for producer in producers:
            producer.join()
            assert producer.error is None, producer.error
        kept = set()
        for producer in producers:
            assert producer.batches
            for name, batch in producer.batches.items():
                shown = client.ended(batch)
                assert (shown["status"], shown["error_file_id"]) == ("completed", None), shown
                assert names(client.lines(shown["output_file_id"])) == [
                    f"{name}-{nth}" for nth in range(LINES)
                ]
                kept |= {shown["input_file_id"], shown["output_file_id"]}
        stop(mill)
        doctor(mill, provider)
    whole = {name for (name,) in mill.query("SELECT public_id FROM files WHERE state = 'processed'")}
    begun = {name for (name,) in mill.query("SELECT public_id FROM files WHERE state <> 'processed'")}
    assert kept <= whole
    assert whole <= objects(mill)
    assert objects(mill) - whole <= begun, "an object that nobody will remove"


def test_fifty_uploads_at_once(mill: Mill) -> None:
    """Each is what was sent, whole."""
    client = start_service(mill)
    sent = [random.Random(nth).randbytes(300_000 + 20_011 * nth) for nth in range(50)]
    with ThreadPoolExecutor(50) as pool:
        told = list(pool.map(lambda data: client.upload(data, purpose="user_data"), sent))
        assert [file["bytes"] for file in told] == [len(data) for data in sent]
        got = list(pool.map(lambda file: sha256(client.content(file["id"])), told))
    assert got == [sha256(data) for data in sent]
    assert len(objects(mill)) == 50


def send_half(client: HttpClient, *, is_chunked: bool) -> socket.socket:
    """Begin an upload and stop half-way."""
    body = form_of(b"x" * 3_000_000, purpose="user_data")
    length = "transfer-encoding: chunked" if is_chunked else f"content-length: {len(body)}"
    head = (
        f"POST /v1/files HTTP/1.1\r\nhost: localhost\r\n{length}\r\n"
        f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    half = body[: len(body) // 2]
    connection = socket.create_connection(("127.0.0.1", int(client.url.rpartition(":")[2])))
    connection.sendall(head.encode() + (b"%x\r\n" % len(half) if is_chunked else b"") + half)
    return connection


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("how", ["closed", "reset"])
def test_client_gone_in_mid_upload(mill: Mill, how: str, is_chunked: bool) -> None:
    """However it leaves: no row and no object are left of its file, at once."""
    client = start_service(mill)
    connection = send_half(client, is_chunked=is_chunked)
    wait_until(lambda: len(objects(mill)) == 1, 30)
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    wait_until(lambda: not objects(mill) and mill.query("SELECT * FROM files") == [], 30)
    assert client.upload(b"x", purpose="user_data")["bytes"] == 1


def test_front_killed_while_it_answers(mill: Mill, tmp_path: Path) -> None:
    """Another takes its place; whoever asks meanwhile waits in line, and what was accepted goes on."""
    with sandbox(tmp_path, "--latency", "0.2") as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        client = start_service(mill)
        batch = client.create(client.upload(lines_of("a", 200))["id"])
        send_half(client, is_chunked=False).close()
        patient = replace(client, patience_s=60)
        for _ in range(2):
            (front,) = mill.fronts()
            os.kill(front, signal.SIGKILL)
            assert patient.batch(batch["id"])["id"] == batch["id"]
        shown = patient.ended(batch["id"])
        assert len(client.lines(shown["output_file_id"])) == 200
        stop(mill)


def test_launcher_killed(mill: Mill, tmp_path: Path) -> None:
    """Its children go with it, and the next can listen where it did, while its front still has answers to finish."""
    with sandbox(tmp_path) as provider:
        mill.environ["OPENAI_BASE_URL"] = provider.url
        client = start_service(mill)
        port = int(client.url.rpartition(":")[2])
        connection = send_half(client, is_chunked=False)
        wait_until(lambda: len(objects(mill)) == 1, 30)
        (front,) = mill.fronts()
        mill.started[-1].kill()
        again = replace(
            start_service(mill, port=port), patience_s=60
        )  # the old front may still answer at first
        batch = again.create(again.upload(lines_of("a"))["id"])
        assert again.ended(batch["id"])["status"] == "completed"
        assert mill.started[-1].poll() is None
        connection.close()
        wait_until(lambda: front not in mill.processes(), 40)
        stop(mill)


def test_two_on_one_home(mill: Mill) -> None:
    """The second is told of the first, and does it no harm."""
    client = start_service(mill)
    for command in ("up", "serve"):
        said = mill.refused(command, "--port", "0")
        assert f"a service of this home runs already at {client.url}" in said
        assert "batchmill down" in said
    assert client.upload(b"x", purpose="user_data")["bytes"] == 1
    stop(mill)


def test_stopped_and_gone_on_with(mill: Mill, tmp_path: Path) -> None:
    """One Ctrl-C, and all of it has ended; the next `up` goes on where that was."""
    with sandbox(tmp_path, "--latency", "0.2") as provider:
        mill.environ |= {"OPENAI_BASE_URL": provider.url, "BATCHMILL_CONCURRENCY": "4"}
        client = start_service(mill)
        batch = client.create(client.upload(lines_of("a", 100))["id"])["id"]
        wait_until(lambda: client.batch(batch)["request_counts"]["completed"] > 0, 60)
        process = mill.started[-1]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert "nothing is lost" in said
        assert mill.processes() == []
        again = start_service(mill)
        shown = again.ended(batch)
        assert names(again.lines(shown["output_file_id"])) == [f"a-{nth}" for nth in range(100)]
        stop(mill)
        doctor(mill, provider)
