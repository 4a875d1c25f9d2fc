"""What becomes of every field at Gemini, as a table for people: the rules that do it, and what answers tell."""

from collections.abc import Mapping
from typing import Final

from batchmill.providers.fields import Field, Support
from batchmill.providers.gemini import ask, formats, messages, parts, tools

_ANSWERS: Final[Mapping[str, str]] = {
    "finish_reason=stop": "STOP, without calls.",
    "finish_reason=length": "MAX_TOKENS, and whatever OpenAI has no word for: MALFORMED_FUNCTION_CALL, OTHER. "
    "`native_finish_reason` beside it is always Gemini's.",
    "finish_reason=tool_calls": "STOP, with calls.",
    "finish_reason=content_filter": "SAFETY, RECITATION, LANGUAGE, BLOCKLIST, PROHIBITED_CONTENT, SPII and their "
    "like; also a prompt that was blocked, which is answered without content.",
    "message.content": "The texts, joined. Parts that are no text are in `extra_content.google.parts`.",
    "message.tool_calls": "Calls with their ids (made up where Gemini gives none) and thought signatures.",
    "message.refusal": "Always null: Gemini filters instead.",
    "message.reasoning_content": "Thoughts, where Gemini tells them.",
    "usage": "Cached tokens within the prompt's, thinking within the completion's; where thinking is not named, "
    "it is what the total is more than everything else.",
}

_RULES: Final = (
    ask.CHAT,
    messages.ROLES,
    messages.INSTRUCTION,
    messages.USER,
    messages.ASSISTANT,
    messages.TOOL,
    parts.PARTS,
    formats.FORMATS,
)

_ROWS: Final = (*messages.WITHIN, *parts.WITHIN, *formats.WITHIN, *tools.WITHIN)

CHAT_FIELDS: Final[Mapping[str, Field]] = {
    **{row.name: row for rules in _RULES for row in rules.values()},
    **{row.name: row for row in _ROWS},
    **{name: Field(name=name, support=Support.MAPPED, note=note) for name, note in _ANSWERS.items()},
}
"""What becomes of every field of a chat request and answer, by the field's name."""

EMBEDDING_FIELDS: Final[Mapping[str, Field]] = {row.name: row for row in ask.EMBEDDINGS.values()}
"""What becomes of every field of a request for embeddings."""
