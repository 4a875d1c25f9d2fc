"""Input shapes: which format an input is taken for, what is refused before it is read, and templates."""

from typing import Any

import pytest

from batchmill.errors import MisuseError
from batchmill.requests.model import Endpoint
from batchmill.requests.shape import InputFormat, InputShape
from batchmill.requests.template import PromptTemplate

OPENAI, PLAIN, CSV = InputFormat.OPENAI, InputFormat.PLAIN, InputFormat.CSV
OPENAI_LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n'


@pytest.mark.parametrize(
    ("beginning", "suffix", "shape", "expected"),
    [
        (OPENAI_LINE, ".jsonl", {}, OPENAI),
        (b"\xef\xbb\xbf\n \r\n" + OPENAI_LINE, "", {}, OPENAI),
        (b'{"id": "a", "prompt": "Hi"}\n', ".jsonl", {}, PLAIN),
        (b'\xef\xbb\xbf\n{"prompt": "Hi", "url": "x"}\n', "", {}, PLAIN),
        (b'{"promt": "Hi", "id": "a"}\n', "", {}, PLAIN),
        (b'{"body": {"prompt": "x"}, "prompt": "Hi"}', "", {}, OPENAI),
        (b'{"url": "x"}', "", {}, OPENAI),
        (b"{}\n", "", {}, OPENAI),
        (b'{"custom_id": "a", "body": {"messages": [{"content": "' + b"x" * 99, "", {}, OPENAI),
        (b'{"id": "a", "prompt": "' + b"x" * 99, "", {}, PLAIN),
        (b'{"id": "a", "prompt": "broken}\n', "", {}, PLAIN),
        (b"{broken\n", "", {}, OPENAI),
        (b"[{}]", "", {}, OPENAI),
        (b"[{}]", "", {"prompt": "{a}"}, PLAIN),
        (b"broken", ".jsonl", {"prompt": "{a}"}, PLAIN),
        (b"id,prompt\n", ".csv", {}, CSV),
        (b"id,prompt\n", ".TSV", {}, CSV),
        (b"id,text\n", "", {"prompt_column": "text"}, CSV),
        (b"id,text\n", ".txt", {"prompt": "{text}"}, CSV),
        (b"id,prompt\n", ".jsonl", {"format": CSV}, CSV),
        (b'{"text": "Hi", "url": "x", "body": "y"}\n', ".jsonl", {"prompt": "{text}"}, PLAIN),
        (b'{"text": "Hi"', ".jsonl", {"prompt": "{text}"}, PLAIN),
        (b'{"custom_id": "a"}', ".jsonl", {"format": PLAIN}, PLAIN),
    ],
)
def test_what_an_input_is_taken_for(
    beginning: bytes, suffix: str, shape: dict[str, Any], expected: InputFormat
) -> None:
    """By what is asked for, the name's ending and the first line."""
    wanted = InputShape(**{"model": "m"} | shape)
    assert wanted.resolved(beginning, suffix).format is expected


def test_openai_lines_are_not_taken_for_data() -> None:
    """A prompt is asked for, but the lines say it all: refused, not asked about their own text."""
    with pytest.raises(MisuseError, match="--prompt is not for input in OpenAI's format"):
        InputShape(model="m", prompt="{a}").resolved(OPENAI_LINE, ".jsonl")


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"format": CSV, "prompt": "{a}", "prompt_column": "a"}, "--prompt and --prompt-column are both given"),
        ({"format": CSV, "prompt": "Say something"}, "would ask the same in every row"),
        ({"format": CSV, "prompt": "{a", "model": "m"}, "stands alone"),
        ({"format": CSV, "model": ""}, "nothing says which model to ask"),
        ({"format": PLAIN, "prompt": "{a}", "model": ""}, "nothing says which model to ask"),
        ({"format": PLAIN, "id_column": "a"}, "--id-column is for tables"),
        ({"format": OPENAI, "prompt_column": "a"}, "--prompt-column is not for input in OpenAI's format"),
        ({"format": OPENAI, "id_column": "a"}, "--id-column is not for input in OpenAI's format"),
        ({"format": OPENAI, "system_prompt": "a"}, "--system-prompt is not for input in OpenAI's format"),
        ({"format": PLAIN, "system_prompt": "a", "endpoint": Endpoint.EMBEDDINGS}, "/v1/embeddings takes none"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(shape: dict[str, Any], said: str) -> None:
    """It is refused before the input is read, naming the option."""
    with pytest.raises(MisuseError, match=said):
        InputShape(**{"model": "m"} | shape).resolved(b"")


@pytest.mark.parametrize(
    ("text", "names", "filled"),
    [
        ("Summarise {text}", ("text",), "Summarise <text>"),
        ("{a}{b c}{a}", ("a", "b c"), "<a><b c><a>"),
        ("{{a}} {a} }}{{", ("a",), "{a} <a> }{"),
        ("{{{a}}}", ("a",), "{<a>}"),
        ("{a.b!r:>10}", ("a.b!r:>10",), "<a.b!r:>10>"),
        ("no place", (), "no place"),
    ],
)
def test_templates(text: str, names: tuple[str, ...], filled: str) -> None:
    """A place is a name in braces and nothing else: no attributes, no formats."""
    template = PromptTemplate(text)
    assert template.names == names
    assert template.fill({name: f"<{name}>" for name in names}) == filled


@pytest.mark.parametrize("text", ["{", "}", "{a", "a}", "{{a}", "{}", "{ }", "{a{b}}"])
def test_malformed_templates(text: str) -> None:
    """They are refused with what is wrong and how it is written."""
    with pytest.raises(MisuseError, match="cannot be used") as refused:
        PromptTemplate(text)
    assert "Summarise {text}" in refused.value.hint
