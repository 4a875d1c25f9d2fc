"""OpenAI's fields, as rows of the table of what each provider makes of them.

Facts: the official SDK's types. A part of a field is written with a dot, an item of a list with `[]`, and one value
of several with `=`; what an answer may say has rows of its own.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from batchmill.providers.fields import Field, Support

CHAT: Final = (
    "model",
    "messages",
    "messages[].role=system",
    "messages[].role=developer",
    "messages[].role=user",
    "messages[].role=assistant",
    "messages[].role=tool",
    "messages[].role=function",
    "messages[last].role=assistant",
    "messages[].content",
    "messages[].text",
    "messages[].image_url",
    "messages[].image_url.detail",
    "messages[].input_audio",
    "messages[].file",
    "messages[].prompt_cache_breakpoint",
    "messages[].name",
    "messages[].tool_calls",
    "messages[].refusal",
    "messages[].reasoning_content",
    "messages[].thinking_blocks",
    "messages[].annotations",
    "messages[].audio",
    "messages[].function_call",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "stop",
    "n",
    "seed",
    "reasoning_effort",
    "verbosity",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "response_format.text",
    "response_format.json_schema",
    "response_format.json_schema.description",
    "response_format.json_schema.strict",
    "response_format.json_object",
    "tools",
    "tools[].function.strict",
    "tools[].type=custom",
    "tool_choice",
    "tool_choice.allowed_tools",
    "tool_choice.custom",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "moderation",
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "stream",
    "stream_options",
    "finish_reason=stop",
    "finish_reason=length",
    "finish_reason=tool_calls",
    "finish_reason=content_filter",
    "message.content",
    "message.tool_calls",
    "message.refusal",
    "message.reasoning_content",
    "usage",
)
"""Of chat completions; `reasoning_content` and `thinking_blocks` are not OpenAI's, but what others call thinking."""

AS_IT_IS: Final = "Passed through as it is."

EMBEDDINGS: Final = ("model", "input", "dimensions", "encoding_format", "user")


def passed_through(names: Iterable[str]) -> Mapping[str, Field]:
    """The rows of a provider that gets every request, and gives every answer, byte for byte."""
    return {name: Field(name=name, support=Support.MAPPED, note=AS_IT_IS) for name in names}
