"""Single calls, one after the other, to the provider itself and through the service, in turn.

`python -m benchmarks.direct_calls PROVIDER SERVICE CALLS` reads the service's key from its standard input and
prints the milliseconds of every call, by way, as JSON. Ways: over a bare HTTP connection and with the official SDK,
each to both.
"""

import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from openai import OpenAI

from benchmarks.workload import questions

WARM_UP = 20
WAYS = ("bare to the provider", "bare through the service", "SDK to the provider", "SDK through the service")
PATH = "/chat/completions"

Ask = Callable[[dict[str, Any]], None]


def bare(url: str, key: str = "none") -> Ask:
    """Asks over one connection that is kept."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}

    def ask(body: dict[str, Any]) -> None:
        connection.request("POST", parts.path + PATH, json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{url} answered {answer.status}: {content[:300]!r}")

    return ask


def sdk(url: str, key: str = "none") -> Ask:
    """Asks as the official SDK does."""
    client = OpenAI(base_url=url, api_key=key, max_retries=0)

    def ask(body: dict[str, Any]) -> None:
        client.chat.completions.create(**body)

    return ask


def measure(provider: str, service: str, key: str, calls: int) -> dict[str, list[float]]:
    """The milliseconds of each call, by way; every question is another, each way in its turn."""
    ways = dict(
        zip(WAYS, (bare(provider), bare(service, key), sdk(provider), sdk(service, key)), strict=True)
    )
    took: dict[str, list[float]] = {name: [] for name in ways}
    bodies = questions(len(ways) * (WARM_UP + calls))
    for nth in range(WARM_UP + calls):
        for name, took_ms in _round(ways, bodies):
            if nth >= WARM_UP:
                took[name].append(took_ms)
    return took


def _round(ways: dict[str, Ask], bodies: Iterator[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    for name, ask in ways.items():
        body = next(bodies)
        begun = time.perf_counter()
        ask(body)
        yield name, (time.perf_counter() - begun) * 1000


def main() -> None:
    """Run it as a program."""
    provider, service, calls = sys.argv[1:]
    print(json.dumps(measure(provider, service, sys.stdin.read(), int(calls))))


if __name__ == "__main__":
    main()
