"""A bare loop over the official SDK."""

import asyncio

from openai import AsyncOpenAI

from benchmarks.peers.programs.batch import KEY, Body, Order, answer_all, read_order


async def answer(order: Order, key: str = KEY) -> None:
    """Every line by one client."""
    async with AsyncOpenAI(base_url=order.url, api_key=key, max_retries=0) as client:

        async def ask(body: Body) -> str:
            completion = await client.chat.completions.create(**body)
            return completion.model_dump_json()

        await answer_all(order, ask)


if __name__ == "__main__":
    asyncio.run(answer(read_order()))
