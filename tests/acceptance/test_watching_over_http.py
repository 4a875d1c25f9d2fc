"""A batch handed in over HTTP and watched there: pages, events, and a webhook, though all is killed meanwhile."""

import base64
import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.clocks import PATIENCE_S
from tests.support.mill import Mill, chat_line, sandbox, wait_until
from tests.support.receivers import WebhookServer

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def up(mill: Mill) -> tuple[subprocess.Popen[str], str]:
    """`batchmill up` on a free port; it, and where it answers."""
    process = mill.start("up", "--port", "0")
    assert process.stderr is not None
    said = []
    while "serving http" not in (line := process.stderr.readline()):
        said.append(line)
        assert line, "".join(said)
    return process, line.split("serving ")[1].split("/v1")[0]


def ask(url: str, document: Any = None) -> tuple[Any, bytes]:
    """GET, or POST of a document; the head and the body of the answer."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return response.headers, response.read()


def upload(url: str, lines: list[str]) -> str:
    """A file of requests; its name."""
    parts = [
        b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n',
        b'--x\r\ncontent-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n',
        "\n".join(lines).encode(),
        b"\r\n--x--\r\n",
    ]
    request = urllib.request.Request(
        f"{url}/v1/files",
        data=b"".join(parts),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return str(json.load(response)["id"])


def webhook_of(url: str, batch: str) -> dict[str, Any]:
    """How far its webhook has come."""
    found: dict[str, Any] = json.loads(ask(f"{url}/v1/batches/{batch}")[1])["webhook"]
    return found


def test_every_way_to_watch(mill: Mill, tmp_path: Path) -> None:
    """Every line comes once by the page, and once as an event; the webhook comes although everything was killed while
    it could not be delivered."""
    receiver = WebhookServer()
    with sandbox(tmp_path, "--latency", "0.05") as provider:
        mill.environ |= {"OPENAI_BASE_URL": f"{provider.url}", "BATCHMILL_WEBHOOK_SECRET": SECRET}
        mill.environ |= {"BATCHMILL_CONCURRENCY": "4"}
        process, url = up(mill)
        file = upload(url, [chat_line(f"line-{nth}", f"What is {nth}?") for nth in range(1, 31)])
        wanted = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = json.loads(ask(f"{url}/v1/batches", {**wanted, "webhook_url": receiver.url})[1])
        assert batch["webhook"] == {"url": receiver.url, "state": "waiting", "tries": 0, "error": None}

        names, after, has_more, pages = [], "", True, 0
        while has_more:
            head, body = ask(f"{url}/v1/batches/{batch['id']}/results?limit=7&after={after}")
            names += [json.loads(line)["custom_id"] for line in body.splitlines()]
            after, has_more, pages = head["x-next-after"], head["x-has-more"] == "true", pages + 1
        assert sorted(names) == sorted(f"line-{nth}" for nth in range(1, 31))
        assert pages >= 5

        _, stream = ask(f"{url}/v1/batches/{batch['id']}/events?results=true")
        events = [event.split("\n") for event in stream.decode().split("\n\n") if event]
        kinds = [event[0].removeprefix("event: ") for event in events if event[0].startswith("event")]
        assert (kinds.count("result"), kinds.count("end"), kinds[-1]) == (30, 1, "end")

        wait_until(lambda: webhook_of(url, batch["id"])["tries"] > 0, PATIENCE_S)
        mill.kill_everything()
        process.wait(10)
        with receiver.up():
            mill.execute("UPDATE webhooks SET next_try_ms = 0, lease_until_ms = 0")  # as if time had passed
            process, url = up(mill)
            wait_until(lambda: webhook_of(url, batch["id"])["state"] == "sent", PATIENCE_S)
            process.terminate()
            process.wait(PATIENCE_S)
    [post] = receiver.posts
    assert post.document["type"] == "batch.completed"
    assert post.document["data"]["id"] == batch["id"]
    assert post.document["data"]["output_file_id"]
