"""What all programs have in common: how they are called, what they read, what they tell.

`PROGRAM URL REQUESTS OUTPUT [options]` answers a batch file through the provider at URL, and prints when it began and
ended, in seconds since 1970, as JSON. Imports, first connections and some calls to get warm lie before that.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WARM_UP_CALLS = 64
KEY = "none"

Body = dict[str, Any]
Ask = Callable[[Body], Awaitable[str]]
"""Makes one call; the answer as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done.

    Attributes:
        in_flight: Calls at the same time.
        rpm: The provider's limit of requests a minute; None for no limit that matters.
        tpm: The same of tokens.
        cache: Answers are kept there, or under its name, for another time; None for no cache.
        folder: For whatever else the program writes.
        broker: URL of a Redis, for those who need one.
    """

    url: str
    requests: Path
    output: Path
    in_flight: int
    rpm: int | None
    tpm: int | None
    cache: Path | None
    folder: Path
    broker: str

    def lines(self) -> Iterator[tuple[str, Body]]:
        """Each line's name and its request, read as they are asked for."""
        with self.requests.open(encoding="utf-8") as file:
            for line in file:
                request = json.loads(line)
                yield request["custom_id"], request["body"]

    def warm_up(self) -> list[Body]:
        """The first requests, asked in other words: nobody's cache may know them from here. None where limits count."""
        found: list[Body] = []
        if self.rpm is not None:
            return found
        for (_, body), _ in zip(self.lines(), range(WARM_UP_CALLS), strict=False):
            body["messages"][-1]["content"] = f"To get warm: {body['messages'][-1]['content']}"
            found.append(body)
        return found


def read_order() -> Order:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("requests", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rpm", type=int)
    parser.add_argument("--tpm", type=int)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--broker", default="")
    return Order(**vars(parser.parse_args()))


def tell(begun_s: float, ended_s: float) -> None:
    """Print what was measured."""
    print(json.dumps({"begun_s": begun_s, "ended_s": ended_s}), flush=True)


def line_of(name: str, answer: str) -> str:
    """A line of the output, of an answer that is JSON already."""
    return f'{{"custom_id": {json.dumps(name)}, "response": {answer}}}\n'


async def answer_all(order: Order, ask: Ask) -> None:
    """Answer every line and tell of it: a coroutine for each call to be in flight, all taking line after line."""
    await asyncio.gather(*map(ask, order.warm_up()))
    lines = order.lines()
    with order.output.open("w", encoding="utf-8") as output:

        async def go_on() -> None:
            for name, body in lines:
                output.write(line_of(name, await ask(body)))

        begun_s = time.time()
        await asyncio.gather(*(go_on() for _ in range(order.in_flight)))
    tell(begun_s, time.time())
