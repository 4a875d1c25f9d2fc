"""The split into training and validation, by conversation: what belongs together is on one side.

An example's conversation is what its producer calls it (`metadata.conversation_id`), else its system prompt and first
question. The side is drawn from a hash of that, so it is the same whatever else is in the export, and in which order.
"""

import hashlib
from typing import Final

import orjson

from batchmill.training.model import Conversation

_ALL: Final = 1 << 64


def is_for_training(conversation: Conversation, *, share: float, seed: int) -> bool:
    """On which side an example is."""
    of_it = orjson.dumps([seed, *_key(conversation)])
    return int.from_bytes(hashlib.sha256(of_it).digest()[:8]) < share * _ALL


def _key(conversation: Conversation) -> list[str]:
    if conversation.thread:
        return ["thread", conversation.thread]
    if conversation.prompt is not None:
        return ["prompt", conversation.prompt]
    told = [said["content"] or "" for said in conversation.messages if said["role"] == "system"]
    asked = next((said["content"] or "" for said in conversation.messages if said["role"] == "user"), "")
    return ["begins", *told, asked]
