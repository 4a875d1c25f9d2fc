"""A script such as many have: one loop that starts a call whenever the minute has room for its request and its tokens.

Refilled by the second; what fails is asked again, up to five times; a refusal stops all for fifteen seconds. Each
answer is appended to the file at once. Tokens are taken as bytes over four and what the answer may have, which costs
less than counting them.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

from benchmarks.peers.programs.batch import KEY, Body, Order, line_of, read_order, tell

NO_LIMIT = 10**12
PAUSE_S = 0.001
REST_AFTER_REFUSAL_S = 15.0
TRIES = 5


@dataclass(slots=True)
class Room:
    """What a minute leaves of requests and tokens; full at first."""

    rpm: float
    tpm: float
    requests: float = 0.0
    tokens: float = 0.0
    seen_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.requests, self.tokens = self.rpm, self.tpm

    def take(self, tokens: int) -> bool:
        """Take one call out of it, if it fits."""
        now_s = time.monotonic()
        share, self.seen_s = (now_s - self.seen_s) / 60, now_s
        self.requests = min(self.rpm, self.requests + self.rpm * share)
        self.tokens = min(self.tpm, self.tokens + self.tpm * share)
        if self.requests < 1 or self.tokens < tokens:
            return False
        self.requests -= 1
        self.tokens -= tokens
        return True


@dataclass(slots=True)
class Job:
    """A line on its way."""

    name: str
    body: Body
    tokens: int
    tries_left: int = TRIES


class Script:
    """The loop and its calls."""

    def __init__(self, order: Order, session: aiohttp.ClientSession) -> None:
        self._order, self._session = order, session
        self._room = Room(order.rpm or NO_LIMIT, order.tpm or NO_LIMIT)
        self._again: asyncio.Queue[Job] = asyncio.Queue()
        self._under_way = 0
        self._refused_s = -REST_AFTER_REFUSAL_S

    async def run(self) -> None:
        """Start every line in its time, the failed ones first; return once all have ended."""
        lines, job = self._order.lines(), None
        calls: set[asyncio.Task[None]] = set()
        while True:
            if job is None:
                job = self._again.get_nowait() if not self._again.empty() else _next(lines)
            if job is not None and self._room.take(job.tokens):
                self._under_way += 1
                calls.add(call := asyncio.create_task(self._call(job)))
                call.add_done_callback(calls.discard)
                job = None
            elif job is None and not self._under_way:
                return
            await asyncio.sleep(PAUSE_S)
            if (rest_s := self._refused_s + REST_AFTER_REFUSAL_S - time.monotonic()) > 0:
                await asyncio.sleep(rest_s)

    async def ask(self, body: Body) -> bytes:
        """One call's answer."""
        headers = {"authorization": f"Bearer {KEY}"}
        async with self._session.post(
            f"{self._order.url}/chat/completions", json=body, headers=headers
        ) as reply:
            if reply.status == 429:
                self._refused_s = time.monotonic()
            reply.raise_for_status()
            return await reply.read()

    async def _call(self, job: Job) -> None:
        try:
            answer = await self.ask(job.body)
        except aiohttp.ClientError as error:
            job.tries_left -= 1
            if job.tries_left:
                self._again.put_nowait(job)
            else:
                self._write(job.name, json.dumps(str(error)))
        else:
            self._write(job.name, json.dumps(json.loads(answer)))
        finally:
            self._under_way -= 1

    def _write(self, name: str, answer: str) -> None:
        with self._order.output.open("a", encoding="utf-8") as output:
            output.write(line_of(name, answer))


def _next(lines: Iterator[tuple[str, Body]]) -> Job | None:
    for name, body in lines:
        size = sum(len(message["content"]) for message in body["messages"])
        return Job(name=name, body=body, tokens=size // 4 + body["max_tokens"])
    return None


async def main(order: Order) -> None:
    """Get warm, then run."""
    connector = aiohttp.TCPConnector(limit=order.in_flight)
    async with aiohttp.ClientSession(connector=connector) as session:
        script = Script(order, session)
        await asyncio.gather(*map(script.ask, order.warm_up()))
        begun_s = time.time()
        await script.run()
    tell(begun_s, time.time())


if __name__ == "__main__":
    asyncio.run(main(read_order()))
