"""Plain lines: what becomes of each field on each endpoint, and what each bad line is told."""

import io
from typing import Any

import orjson
import pytest

from batchmill.requests.model import Endpoint, LineError, RequestLine
from batchmill.requests.shape import InputFormat, InputShape

SHAPE = InputShape(format=InputFormat.PLAIN, model="m")


def read(*lines: Any, **shape: Any) -> list[RequestLine | LineError]:
    """What plain lines become."""
    data = b"".join(line if isinstance(line, bytes) else orjson.dumps(line) + b"\n" for line in lines)
    wanted = InputShape(**{"format": InputFormat.PLAIN, "model": "m"} | shape).resolved(data)
    return list(wanted.read(io.BufferedReader(io.BytesIO(data)), max_line_bytes=10_000))


def body_of(line: dict[str, Any], **shape: Any) -> Any:
    """The body of the one request that a line becomes."""
    (request,) = read({"id": "a", "prompt": "Hi"} | line, **shape)
    assert isinstance(request, RequestLine), request
    assert request.model == request.body["model"]
    return request.body


def faults_of(line: Any, **shape: Any) -> list[tuple[str, str | None]]:
    """Code and field of everything wrong with a line."""
    found = read(line, **shape)
    assert all(isinstance(error, LineError) and error.line == 1 for error in found)
    return [(error.code, error.param) for error in found if isinstance(error, LineError)]


def test_id_and_prompt_are_enough() -> None:
    """With a model for all lines; ids may be numbers."""
    assert read({"id": "a", "prompt": "Hi"}, b"\n", {"id": 7, "prompt": "Ho", "type": None}) == [
        RequestLine(
            line=number,
            custom_id=name,
            endpoint=Endpoint.CHAT,
            model="m",
            body={"model": "m", "messages": [{"role": "user", "content": prompt}]},
        )
        for number, name, prompt in ((1, "a", "Hi"), (3, "7", "Ho"))
    ]


def test_all_fields_of_a_chat() -> None:
    """System prompt first, then the context's messages, then the prompt; options are the body's own fields."""
    context = [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": [{"type": "text", "text": "2"}]},
    ]
    (request,) = read(
        {
            "id": "a",
            "prompt": "Hi",
            "system_prompt": "Be brief.",
            "type": "moderation",
            "context": context,
            "model": "other",
            "options": {"temperature": 0, "max_tokens": 9, "response_format": {"type": "json_object"}},
        }
    )
    assert isinstance(request, RequestLine)
    assert (request.model, request.request_type) == ("other", "moderation")
    assert request.body == {
        "model": "other",
        "messages": [{"role": "system", "content": "Be brief."}, *context, {"role": "user", "content": "Hi"}],
        "temperature": 0,
        "max_tokens": 9,
        "response_format": {"type": "json_object"},
    }


def test_a_text_as_context_goes_before_the_prompt() -> None:
    """In the same message, an empty line between them."""
    assert body_of({"context": "The text."})["messages"] == [{"role": "user", "content": "The text.\n\nHi"}]
    assert body_of({"context": ""}) == body_of({}) == body_of({"context": None, "options": None})


def test_the_lines_own_words_go_before_those_for_all_lines() -> None:
    """Model and system prompt of the command are for lines without one; an empty one says none is wanted."""
    assert body_of({}, system_prompt="S")["messages"][0] == {"role": "system", "content": "S"}
    assert body_of({"system_prompt": "T"}, system_prompt="S")["messages"][0]["content"] == "T"
    assert body_of({"system_prompt": ""}, system_prompt="S") == body_of({})
    assert body_of({"model": "n"})["model"] == "n"


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (Endpoint.RESPONSES, {"model": "m", "input": "Hi"}),
        (Endpoint.EMBEDDINGS, {"model": "m", "input": "Hi"}),
        (Endpoint.MODERATIONS, {"model": "m", "input": "Hi"}),
        (Endpoint.COMPLETIONS, {"model": "m", "prompt": "Hi"}),
    ],
)
def test_other_endpoints(endpoint: Endpoint, body: dict[str, Any]) -> None:
    """The prompt stands where the endpoint has its text; options are added."""
    assert body_of({}, endpoint=endpoint) == body
    assert body_of({"options": {"user": "u"}}, endpoint=endpoint) == body | {"user": "u"}
    text = "input" if "input" in body else "prompt"
    assert body_of({"context": "C"}, endpoint=endpoint)[text] == "C\n\nHi"


def test_responses_have_instructions_and_messages() -> None:
    """A system prompt is `instructions`; messages go before the prompt."""
    message = {"role": "user", "content": "1"}
    assert body_of({"system_prompt": "S", "context": [message]}, endpoint=Endpoint.RESPONSES) == {
        "model": "m",
        "instructions": "S",
        "input": [message, {"role": "user", "content": "Hi"}],
    }


GOOD = {"id": "a", "prompt": "Hi"}


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        ({"prompt": "Hi"}, [("missing_required_parameter", "id")]),
        ({"id": "a"}, [("missing_required_parameter", "prompt")]),
        (GOOD | {"id": ""}, [("invalid_value", "id")]),
        (GOOD | {"id": "x" * 513}, [("invalid_value", "id")]),
        (GOOD | {"id": "a\0"}, [("invalid_value", "id")]),
        (GOOD | {"id": True}, [("invalid_type", "id")]),
        (GOOD | {"id": 1.5}, [("invalid_type", "id")]),
        (GOOD | {"prompt": "  \n"}, [("invalid_value", "prompt")]),
        (GOOD | {"prompt": ["Hi"]}, [("invalid_type", "prompt")]),
        (GOOD | {"system_prompt": 7}, [("invalid_type", "system_prompt")]),
        (GOOD | {"type": 7}, [("invalid_type", "type")]),
        (GOOD | {"type": "a\0"}, [("invalid_value", "type")]),
        (GOOD | {"model": ""}, [("invalid_request", "model")]),
        (GOOD | {"model": 4}, [("invalid_type", "model")]),
        (GOOD | {"model": "a\0"}, [("invalid_value", "model")]),
        (GOOD | {"context": 7}, [("invalid_type", "context")]),
        (GOOD | {"context": {"role": "user", "content": "x"}}, [("invalid_type", "context")]),
        (GOOD | {"context": ["x"]}, [("invalid_value", "context[0]")]),
        (GOOD | {"context": [{"role": "user"}]}, [("invalid_value", "context[0]")]),
        (GOOD | {"context": [{"role": "", "content": "x"}]}, [("invalid_value", "context[0]")]),
        (GOOD | {"context": [{"role": "user", "content": 7}]}, [("invalid_value", "context[0]")]),
        (GOOD | {"context": [{"role": "user", "content": "x", "y": 1}]}, [("invalid_value", "context[0]")]),
        (GOOD | {"options": []}, [("invalid_type", "options")]),
        *(
            (GOOD | {"options": {name: None}}, [("invalid_value", f"options.{name}")])
            for name in ("model", "messages", "input", "prompt", "instructions", "stream")
        ),
        (GOOD | {"promt": None}, [("unknown_parameter", "promt")]),
        (GOOD | {"custom_id": "a", "a\nb": 1}, [("unknown_parameter", "custom_id"), ("unknown_parameter", "a\nb")]),
        (b"{\n", [("invalid_json_line", None)]),
        (b'{"id": "\xff"}', [("invalid_json_line", None)]),
        (GOOD | {"prompt": "x" * 20_000}, [("invalid_request", None)]),
        (GOOD | {"options": {"seed": 2**64 - 1}, "prompt": ""}, [("invalid_value", "prompt")]),
        ({"id": 7.5, "context": 1, "x": 1}, [
            ("invalid_type", "id"), ("missing_required_parameter", "prompt"), ("invalid_type", "context"),
            ("unknown_parameter", "x")]),
    ],
)  # fmt: skip
def test_bad_lines(line: Any, faults: list[tuple[str, str]]) -> None:
    """Everything wrong with a line is told at once, each with its field; a message is always one line."""
    assert faults_of(line) == faults
    assert not any("\n" in error.message for error in read(line) if isinstance(error, LineError))


def test_a_model_is_needed_from_somewhere() -> None:
    """Neither the line nor the command: an error that names the option."""
    (error,) = read({"id": "a", "prompt": "Hi"}, model="")
    assert isinstance(error, LineError)
    assert (error.code, error.param) == ("invalid_request", "model")
    assert "--model" in error.message


@pytest.mark.parametrize("endpoint", [Endpoint.EMBEDDINGS, Endpoint.COMPLETIONS, Endpoint.MODERATIONS])
def test_no_messages_where_the_endpoint_knows_none(endpoint: Endpoint) -> None:
    """A system prompt or earlier messages would be lost: an error."""
    messages = [{"role": "user", "content": "x"}]
    assert faults_of(GOOD | {"system_prompt": "S"}, endpoint=endpoint) == [("invalid_value", "system_prompt")]
    assert faults_of(GOOD | {"context": messages}, endpoint=endpoint) == [("invalid_value", "context")]


def test_data_lines_and_a_template() -> None:
    """With a template a line is a row of data: its other fields, whatever their names, mean nothing."""
    found = read(
        {"text": "A {x}", "stars": 4, "type": "news", "model": 3, "id": 9},
        {"text": "B", "stars": None, "id": "b"},
        {"text": "C", "stars": [1, True]},
        prompt="{{{stars}}} {text}",
    )
    assert [request.body["messages"][0]["content"] for request in (found[0], found[2])] == [
        "{4} A {x}",
        "{[1,true]} C",
    ]  # type: ignore[union-attr]
    assert [getattr(line, "custom_id", "") for line in found] == ["9", "", "3"]
    assert isinstance(found[1], LineError)
    assert found[1].message == "Missing required parameter: 'stars'. It has 'text', 'id'."
    assert not any(line.request_type for line in found if isinstance(line, RequestLine))


def test_a_column_as_prompt_and_as_id() -> None:
    """The field is the prompt as it is, braces and all; the id is the field that is named."""
    (request,) = read({"{q}": "{Hi}", "key": "k"}, prompt_column="{q}", id_column="key", system_prompt="S")
    assert isinstance(request, RequestLine)
    assert request.custom_id == "k"
    assert [message["content"] for message in request.body["messages"]] == ["S", "{Hi}"]
    assert faults_of({"{q}": "Hi"}, prompt_column="{q}", id_column="key") == [
        ("missing_required_parameter", "key")
    ]
    assert faults_of({"{q}": " "}, prompt_column="{q}") == [("invalid_value", "{q}")]
    assert faults_of({"q": "Hi", "id": ""}, prompt_column="q") == [("invalid_value", "id")]
