"""LiteLLM's proxy, one worker process, and a bare SDK loop that calls through it."""

import asyncio
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.peers.programs.batch import KEY, Order, read_order
from benchmarks.peers.programs.sdk_loop import answer

MODEL = "gpt-4o-mini"
WAIT_S = 120.0


@contextmanager
def proxy(order: Order, key: str) -> Iterator[str]:
    """A proxy in front of the provider, which lets nobody in without that key; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = order.folder / "proxy.json"
    provider = {"model": f"openai/{MODEL}", "api_base": order.url, "api_key": KEY}
    config.write_text(json.dumps({"model_list": [{"model_name": MODEL, "litellm_params": provider}]}))
    process = subprocess.Popen(
        [
            *(Path(sys.executable).with_name("litellm"), "--config", config, "--host", "127.0.0.1"),
            *("--port", str(port), "--num_workers", "1", "--telemetry", "False"),
        ],
        cwd=order.folder,
        env=os.environ | {"LITELLM_LOG": "ERROR", "LITELLM_MASTER_KEY": key},
        stdout=subprocess.DEVNULL,
        stderr=(order.folder / "proxy.log").open("wb"),
    )
    try:
        _wait_until_it_answers(f"http://127.0.0.1:{port}/health/liveliness", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the proxy did not start")


def main(order: Order) -> None:
    """The loop, another address."""
    key = f"sk-{secrets.token_hex(16)}"
    with proxy(order, key) as url:
        asyncio.run(answer(replace(order, url=url), key))


if __name__ == "__main__":
    main(read_order())
