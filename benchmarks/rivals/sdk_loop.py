"""A loop over the official SDK.

`python -m benchmarks.rivals.sdk_loop URL CALLS OUTPUT` prints what it took, as JSON.
"""

import asyncio
import json
import sys
import time
from typing import IO, Any

from openai import AsyncOpenAI

from benchmarks.workload import questions

CALLS_IN_FLIGHT = 64


async def answer(url: str, calls: int, output: IO[str]) -> dict[str, float]:
    """Ask every question, write every answer down; seconds and CPU seconds, without imports and first connections."""
    bodies = list(questions(calls))
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        free = asyncio.Semaphore(CALLS_IN_FLIGHT)

        async def ask(body: dict[str, Any]) -> None:
            async with free:
                completion = await client.chat.completions.create(**body)
            output.write(completion.model_dump_json() + "\n")

        await asyncio.gather(*map(ask, bodies[:CALLS_IN_FLIGHT]))
        begun, cpu_begun = time.monotonic(), time.process_time()
        await asyncio.gather(*map(ask, bodies))
        return {"s": time.monotonic() - begun, "cpu_s": time.process_time() - cpu_begun}


def main() -> None:
    """Run it as a program."""
    url, calls, path = sys.argv[1:]
    with open(path, "w", encoding="utf-8") as output:
        print(json.dumps(asyncio.run(answer(url, int(calls), output))))


if __name__ == "__main__":
    main()
