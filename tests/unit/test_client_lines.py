"""What a producer calls a request becomes a line of OpenAI's batch format, or is told by its number."""

from datetime import UTC, datetime

import orjson
import pytest

from batchmill.client.lines import LineMaker, RequestSource, endpoint_named
from batchmill.errors import InputError, InvalidLinesError, MisuseError
from batchmill.requests.model import Endpoint


def made(*requests: object, **options: object) -> list[dict]:
    source = RequestSource(requests=list(requests), maker=LineMaker(**options))
    return [orjson.loads(line) for line in source.pieces()]


def test_a_prompt_is_asked_of_the_model_that_is_named_for_all():
    """A string is a chat with one message, called by its number."""
    assert made("Hello?", model="gpt-4o-mini") == [
        {
            "custom_id": "1",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello?"}]},
        }
    ]


def test_the_forms_may_be_mixed_and_mean_the_same():
    """Prompt, plain dict, body and line, each in its own way, ask the same question."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}
    lines = made(
        "Hello?",
        {"prompt": "Hello?"},
        {"messages": body["messages"]},
        {"custom_id": "x", "body": body},
        model="m",
    )
    assert [line["body"] for line in lines] == [body] * 4
    assert [line["custom_id"] for line in lines] == ["1", "2", "3", "x"]


def test_a_plain_dict_says_what_plain_lines_say():
    """Id, model, system prompt, options, type and routing go where they belong."""
    (line,) = made(
        {
            "id": 7,
            "prompt": "Hello?",
            "model": "anthropic/claude-haiku-5-5",
            "system_prompt": "Be brief.",
            "options": {"temperature": 0},
            "type": "greeting",
            "routing": {"fallback": ["gpt-4o-mini"]},
        },
        model="m",
        system_prompt="Be long.",
    )
    assert line == {
        "custom_id": "7",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "anthropic/claude-haiku-5-5",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
            "temperature": 0,
        },
        "type": "greeting",
        "routing": {"fallback": ["openai/gpt-4o-mini"]},
    }


def test_a_whole_line_stays_as_it_is():
    """What is in OpenAI's format passes unchanged: judging it is the service's."""
    line = {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "x"}}
    assert made(line | {"more": [1]}, model="other") == [line | {"more": [1]}]


def test_the_first_line_says_the_endpoint():
    """What follows is made for the same one."""
    maker = LineMaker(model="m")
    maker.line({"url": "/v1/embeddings", "custom_id": "a", "body": {"input": "x"}})
    assert orjson.loads(maker.line({"input": "y"}))["url"] == "/v1/embeddings"
    assert maker.endpoint is Endpoint.EMBEDDINGS


def test_a_prompt_for_embeddings_is_their_input():
    """The endpoint decides where a prompt goes."""
    (line,) = made("some text", model="m", endpoint=Endpoint.EMBEDDINGS)
    assert line["body"] == {"model": "m", "input": "some text"}


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (42, "this is int"),
        (None, "this is NoneType"),
        ({}, "this one has nothing"),
        ({"question": "?"}, "this one has question"),
        ("  ", "it is empty"),
        ({"prompt": "?", "temperature": 0}, "Unknown parameter: 'temperature'"),
        ({"prompt": ["?"]}, "Invalid type for 'prompt'"),
        ({"input": "?"}, "/v1/chat/completions wants 'messages'"),
        ({"messages": [{"content": {1, 2}}]}, "cannot be written as JSON"),
        ({"custom_id": "a", "body": {1: 2}}, "cannot be written as JSON"),
        ({"messages": [], "temperature": float("nan")}, "NaN"),
        ({"prompt": "?", "options": {"bias": [(float("inf"),)]}}, "NaN"),
        ({"messages": [], "seed": 2**70}, "cannot be written as JSON"),
    ],
)
def test_what_is_no_request_is_told_by_its_number(request_, why):
    """The message says which one, and what is wrong with it; nothing is submitted."""
    with pytest.raises(InvalidLinesError, match=r"^request 2") as told:
        made("fine", request_, model="m")
    assert why in told.value.message


def test_its_name_is_told_too():
    """One finds it by what one has called it."""
    with pytest.raises(InvalidLinesError, match=r"^request 1 \('order-17'\): "):
        made({"custom_id": "order-17", "body": {"when": object()}})


def test_a_prompt_without_a_model_is_told_what_to_do():
    """The choice may be left to the service, if one says so."""
    with pytest.raises(InvalidLinesError, match='model="auto"'):
        made("Hello?")


def test_an_input_alone_does_not_say_what_it_is_for():
    """Three endpoints take one."""
    with pytest.raises(InvalidLinesError, match="nothing says which endpoint"):
        made({"input": "some text"}, model="m")


def test_no_request_is_an_error():
    """An empty list, or a generator that gives nothing, is a mistake of the producer's."""
    with pytest.raises(InputError, match="no requests"):
        made(model="m")


def test_a_body_may_have_a_name():
    """Beside the fields of the call; null stays null."""
    (line,) = made({"id": 7, "model": "m", "messages": [], "stop": None})
    assert (line["custom_id"], line["body"]) == ("7", {"model": "m", "messages": [], "stop": None})


def test_dates_are_written_as_text():
    """What JSON has no word for, and everybody writes alike, is written so."""
    (line,) = made({"custom_id": "a", "body": {"at": datetime(2026, 11, 28, tzinfo=UTC)}})
    assert line["body"]["at"] == "2026-11-28T00:00:00+00:00"


def test_a_list_can_be_read_again_and_a_generator_not():
    """That decides whether an upload that broke off is tried again."""
    maker = LineMaker(model="m")
    again = RequestSource(requests=["a", "b"], maker=maker)
    assert [len(list(again.pieces())), len(list(again.pieces()))] == [2, 2]
    assert maker.count == 2
    assert again.may_repeat
    assert not RequestSource(requests=(text for text in "ab"), maker=maker).may_repeat


def test_an_endpoint_that_is_none_is_told():
    """With those there are."""
    with pytest.raises(MisuseError, match="no endpoint '/v1/chat'") as told:
        endpoint_named("/v1/chat")
    assert "/v1/chat/completions" in told.value.hint
