"""The rows of the table of fields, and the providers that pass them through."""

import re
from collections.abc import Mapping

import pytest
from openai.types import EmbeddingCreateParams
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from batchmill.providers import openai, openrouter
from batchmill.providers.fields import Field, Support
from batchmill.providers.openai_fields import CHAT, EMBEDDINGS


def test_no_field_of_the_official_sdk_is_missing() -> None:
    """Every parameter of chat completions and embeddings has a row."""
    parameters = (
        CompletionCreateParamsNonStreaming.__annotations__ | CompletionCreateParamsStreaming.__annotations__
    )
    assert set(parameters) <= set(CHAT)
    assert set(EmbeddingCreateParams.__annotations__) == set(EMBEDDINGS)


def test_every_part_belongs_to_a_row() -> None:
    """What is written with a dot, brackets or a value has its whole in the table, or is of an answer."""
    wholes = {re.split(r"[.\[=]", name)[0] for name in CHAT}
    assert wholes - set(CHAT) == {"finish_reason", "message"}


@pytest.mark.parametrize("fields", [openai.CHAT_FIELDS, openrouter.CHAT_FIELDS])
def test_openais_wire_passes_everything_through(fields: Mapping[str, Field]) -> None:
    """A row for each field, which says so; that bodies go out byte for byte is tested on a socket."""
    assert set(fields) == set(CHAT)
    assert {field.support for field in fields.values()} == {Support.MAPPED}
