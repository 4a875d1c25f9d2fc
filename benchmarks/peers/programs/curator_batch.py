"""bespokelabs-curator's LLM on a data set: what it is told of limits where there are none is never reached.

Its time has the reading of the lines and the writing of its own files in it, as it does both itself.
"""

import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.programs.batch import KEY, Order, line_of, read_order, tell

_litellm = importlib.util.find_spec("litellm")
assert _litellm is not None
assert _litellm.origin is not None
# It would fetch the tokenizer that it counts with; LiteLLM, which it brings, has the same one in its package.
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(_litellm.origin).parent / "litellm_core_utils" / "tokenizers")

from bespokelabs import curator  # noqa: E402

NEVER = 10**9
Row = dict[str, Any]


class Answering(curator.LLM):  # type: ignore[misc]
    """Asks with the messages of a row."""

    return_completions_object = True

    def prompt(self, row: Row) -> Any:
        """The row's own messages."""
        return row["messages"]

    def parse(self, row: Row, response: Row) -> Row:
        """The answer under the line's name."""
        return {"name": row["name"], "answer": json.dumps(response)}


def llm(order: Order, body: Row) -> Answering:
    """One that asks as that request does, but for the messages."""
    return Answering(
        model_name=body["model"],
        backend="openai",
        generation_params={"temperature": body["temperature"], "max_tokens": body["max_tokens"]},
        backend_params={
            "base_url": order.url,
            "api_key": KEY,
            "max_concurrent_requests": order.in_flight,
            "max_requests_per_minute": order.rpm or NEVER,
            "max_tokens_per_minute": order.tpm or NEVER,
            "invalid_finish_reasons": ["content_filter"],
        },
    )


def main(order: Order) -> None:
    """Get warm on another data set, then the file."""
    rows = [{"name": name, "messages": body["messages"]} for name, body in order.lines()]
    first = next(body for _, body in order.lines())
    if warm_up := [{"name": "warm", "messages": body["messages"]} for body in order.warm_up()]:
        llm(order, first)(warm_up, working_dir=str(order.folder / "warm-up"))
    begun_s = time.time()
    answered = llm(order, first)(rows, working_dir=str(order.cache or order.folder / "work"))
    with order.output.open("w", encoding="utf-8") as output:
        output.writelines(line_of(row["name"], row["answer"]) for row in answered.dataset)
    tell(begun_s, time.time())


if __name__ == "__main__":
    main(read_order())
