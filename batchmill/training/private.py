"""A conversation with placeholders for what is somebody's."""

from collections import Counter
from dataclasses import replace

import orjson

from batchmill.pii.model import Kind
from batchmill.pii.redactor import Redactor
from batchmill.training.model import Conversation


def redacted(conversation: Conversation) -> tuple[Conversation, Counter[Kind]]:
    """The conversation redacted as a whole, and how often something of each kind was replaced."""
    parts = [conversation.messages, conversation.tools, conversation.prompt, conversation.completion]
    redactor = Redactor([orjson.dumps(parts).decode()])
    cleaned = replace(
        conversation,
        messages=redactor.document(conversation.messages),
        tools=redactor.document(conversation.tools),
        prompt=None if conversation.prompt is None else redactor.text(conversation.prompt),
        completion=redactor.text(conversation.completion),
    )
    return cleaned, redactor.counts
