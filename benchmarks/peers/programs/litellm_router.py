"""LiteLLM's Router: one deployment, its async completion call, answers kept in a Redis where a cache is asked for.

With limits, the deployment has them and the Router keeps to them; what it refuses for their sake is asked again.
"""

import asyncio
from typing import Any

import litellm
from litellm.caching.caching import Cache

from benchmarks.peers.programs.batch import KEY, Body, Order, answer_all, read_order

ASK_AGAIN_AFTER_S = 1.0
KEPT_S = 24 * 60 * 60
"""Unless told, it keeps an answer for a minute: less than this file takes it."""
MODELS = ("gpt-4o-mini",)
NO_LIMITS: dict[str, Any] = {}


def router_of(order: Order) -> litellm.Router:
    """A Router with one deployment of each model."""
    limits = {"rpm": order.rpm, "tpm": order.tpm} if order.rpm else NO_LIMITS
    provider = {"api_base": order.url, "api_key": KEY, "max_retries": 0}
    held: dict[str, Any] = (
        {
            "routing_strategy": "usage-based-routing-v2",
            "optional_pre_call_checks": ["enforce_model_rate_limits"],
        }
        if order.rpm
        else {}
    )
    return litellm.Router(
        model_list=[
            {"model_name": model, "litellm_params": {"model": f"openai/{model}", **provider, **limits}}
            for model in MODELS
        ],
        num_retries=0,
        cache_responses=order.cache is not None,
        disable_cooldowns=True,
        set_verbose=False,
        **held,
    )


async def answer(order: Order) -> None:
    """Every line by one Router."""
    if order.cache:
        litellm.cache = Cache(type="redis", url=order.broker, namespace=str(order.cache), ttl=KEPT_S)
    router = router_of(order)

    async def ask(body: Body) -> str:
        while True:
            try:
                answer = await router.acompletion(**body)
                return str(answer.model_dump_json())
            except litellm.RateLimitError:
                await asyncio.sleep(ASK_AGAIN_AFTER_S)

    await answer_all(order, ask)


if __name__ == "__main__":
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    asyncio.run(answer(read_order()))
