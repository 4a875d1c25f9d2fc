"""How a request becomes Anthropic's, where fields hang together and where they are malformed."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.providers.anthropic.ask import write_body
from batchmill.providers.base import Call
from batchmill.providers.openai_fields import CHAT
from batchmill.providers.wire import UntranslatableError
from batchmill.requests.model import Endpoint
from tests.unit.test_anthropic_fields import EXAMPLES, PLAIN, Raises, Says

ADAPTIVE = "claude-opus-4-8"
BUDGETED = "claude-sonnet-4-5-20250929"
HELLO = {"role": "user", "content": "hello"}
TOOL = {"type": "function", "function": {"name": "f"}}


def call_of(body: bytes, endpoint: Endpoint = Endpoint.CHAT, output_cap_tokens: int = 4096) -> Call:
    return Call(
        endpoint=endpoint,
        model="m",
        body=body,
        client_request_id="r/1",
        timeout_s=5.0,
        output_cap_tokens=output_cap_tokens,
    )


def write(**fields: Any) -> Any:
    """Anthropic's request of one that says hello, with more fields."""
    return orjson.loads(write_body(call_of(orjson.dumps({"model": ADAPTIVE, "messages": [HELLO]} | fields))))


def turns(*messages: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """The turns that messages become: who, and each block's text or kind."""
    said = write(messages=list(messages))["messages"]
    return [(turn["role"], [block.get("text", block["type"]) for block in turn["content"]]) for turn in said]


def fault(**fields: Any) -> str:
    """The field that an error names."""
    with pytest.raises(UntranslatableError) as caught:
        write(**fields)
    return caught.value.param


# the longest answer


def test_the_longest_answer_is_always_said() -> None:
    """Where the request names none, the call's cap is sent."""
    call = call_of(orjson.dumps({"model": "m", "messages": [HELLO]}), output_cap_tokens=123)
    assert orjson.loads(write_body(call))["max_tokens"] == 123


def test_two_longest_answers_must_agree() -> None:
    """The old and the new name may stand beside each other with one number."""
    assert write(max_tokens=9, max_completion_tokens=9)["max_tokens"] == 9
    assert fault(max_tokens=9, max_completion_tokens=10) == "max_tokens"


@pytest.mark.parametrize("tokens", [0, -1, 1.5, "9", True, [9]])
def test_a_longest_answer_is_a_count(tokens: Any) -> None:
    """Zero would ask Anthropic for no answer at all."""
    assert fault(max_tokens=tokens) == "max_tokens"


# thinking


@pytest.mark.parametrize(
    ("effort", "told"),
    [
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "medium"),
        ("high", "high"),
        ("xhigh", "xhigh"),
        ("max", "max"),
    ],
)
@pytest.mark.parametrize("model", [ADAPTIVE, "claude-sonnet-5", "claude-fable-5-1", "claude-mythos-preview"])
def test_newer_models_are_told_an_effort(model: str, effort: str, told: str) -> None:
    """They think as they see fit; a budget would be a 400."""
    said = write(model=model, reasoning_effort=effort)
    assert (said["thinking"], said["output_config"]) == ({"type": "adaptive"}, {"effort": told})


@pytest.mark.parametrize(
    ("effort", "budget_tokens"),
    [
        ("minimal", 1_024),
        ("low", 2_000),
        ("medium", 5_000),
        ("high", 8_000),
        ("xhigh", 9_000),
        ("max", 9_500),
    ],
)
@pytest.mark.parametrize(
    "model", [BUDGETED, "claude-3-7-sonnet-20250219", "claude-opus-4-20250514", "claude-haiku-4-5"]
)
def test_older_models_are_given_a_budget(model: str, effort: str, budget_tokens: int) -> None:
    """A share of the longest answer, at least what Anthropic takes, and less than the answer."""
    said = write(model=model, reasoning_effort=effort, max_completion_tokens=10_000)
    assert said["thinking"] == {"type": "enabled", "budget_tokens": budget_tokens}
    assert "output_config" not in said


def test_the_least_budget_needs_room() -> None:
    """1,024 tokens of thinking need an answer of 1,025."""
    said = write(model=BUDGETED, reasoning_effort="high", max_tokens=1_025)
    assert said["thinking"]["budget_tokens"] == 1_024
    assert fault(model=BUDGETED, reasoning_effort="high", max_tokens=1_024) == "reasoning_effort"


@pytest.mark.parametrize("model", [ADAPTIVE, BUDGETED, "claude-3-haiku-20240307"])
def test_no_effort_is_no_thinking(model: str) -> None:
    """`none` can be said to every model."""
    assert write(model=model, reasoning_effort="none")["thinking"] == {"type": "disabled"}


def test_models_before_3_7_do_not_think() -> None:
    """An effort they cannot make is an error, not left out."""
    assert fault(model="claude-3-5-sonnet-20241022", reasoning_effort="low") == "reasoning_effort"


@pytest.mark.parametrize("model", [ADAPTIVE, BUDGETED])
def test_thinking_takes_no_temperature(model: str) -> None:
    """Anthropic answers 400 to both together; the usual temperature of 1 is no contradiction."""
    assert fault(model=model, reasoning_effort="low", temperature=0) == "temperature"
    assert "temperature" not in write(model=model, reasoning_effort="low", temperature=1)
    assert write(model=model, reasoning_effort="none", temperature=0)["temperature"] == 0


def test_thinking_takes_a_high_top_p_only() -> None:
    """0.95 and above."""
    assert fault(reasoning_effort="low", top_p=0.9) == "top_p"
    assert write(reasoning_effort="low", top_p=0.95)["top_p"] == 0.95


def test_a_budget_of_thinking_does_not_go_with_a_demanded_call() -> None:
    """So Anthropic has it for the models that are given budgets."""
    demanded = {"tools": [TOOL], "tool_choice": "required", "reasoning_effort": "low"}
    assert fault(model=BUDGETED, **demanded) == "tool_choice"
    assert write(model=ADAPTIVE, **demanded)["tool_choice"] == {"type": "any"}


def test_effort_and_schema_stand_beside_each_other() -> None:
    """Both are in `output_config`, whichever comes first."""
    shape = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    for fields in (
        {"reasoning_effort": "low", "response_format": shape},
        {"response_format": shape, "reasoning_effort": "low"},
    ):
        assert write(**fields)["output_config"] == {
            "effort": "low",
            "format": {"type": "json_schema", "schema": {"type": "object"}},
        }


# sampling


@pytest.mark.parametrize("temperature", [1.1, 2, -0.1, True, "0.5", [0.5]])
def test_a_temperature_beyond_anthropics_is_an_error(temperature: Any) -> None:
    """OpenAI's goes to 2, Anthropic's to 1; a cut would be another question."""
    assert fault(temperature=temperature) == "temperature"


@pytest.mark.parametrize(("stop", "sequences"), [("END", ["END"]), (["a", "b"], ["a", "b"])])
def test_stop_is_one_text_or_several(stop: Any, sequences: list[str]) -> None:
    """OpenAI takes both, Anthropic a list."""
    assert write(stop=stop)["stop_sequences"] == sequences


@pytest.mark.parametrize("stop", ["\n", "", ["a", " "], [1], {}])
def test_a_stop_that_anthropic_does_not_take_is_an_error(stop: Any) -> None:
    """White space alone is none."""
    assert fault(stop=stop) == "stop"


# the conversation


def test_system_prompts_are_joined_in_order_wherever_they_stand() -> None:
    """Anthropic has one system prompt, ahead of everything."""
    said = write(
        messages=[
            {"role": "system", "content": "one"},
            {"role": "developer", "content": [{"type": "text", "text": "two"}]},
            HELLO,
            {"role": "system", "content": "three"},
        ]
    )
    assert [block["text"] for block in said["system"]] == ["one", "two", "three"]
    assert [turn["role"] for turn in said["messages"]] == ["user"]


def test_an_empty_system_prompt_is_none() -> None:
    """It says nothing, and Anthropic takes no empty block."""
    assert "system" not in write(messages=[{"role": "system", "content": ""}, HELLO])


def test_messages_of_one_role_are_one_turn() -> None:
    """As Anthropic would read them; nothing of them is lost."""
    assistant = {"role": "assistant", "content": "a"}
    assert turns(HELLO, HELLO, assistant, assistant, HELLO) == [
        ("user", ["hello", "hello"]),
        ("assistant", ["a", "a"]),
        ("user", ["hello"]),
    ]


def test_results_of_tools_and_the_next_question_are_one_turn() -> None:
    """Results first, each by its call."""
    calls = [
        {"id": name, "type": "function", "function": {"name": "f", "arguments": ""}} for name in ("a", "b")
    ]
    said = write(
        messages=[
            HELLO,
            {"role": "assistant", "content": "let me see", "tool_calls": calls},
            {"role": "tool", "tool_call_id": "b", "content": ""},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1"}]},
            HELLO,
        ]
    )["messages"]
    assert said[1]["content"][0] == {"type": "text", "text": "let me see"}
    assert said[1]["content"][1] == {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    assert said[2] == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "b"},
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "1"}]},
            {"type": "text", "text": "hello"},
        ],
    }


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    """What OpenAI's SDK prints of a message, nulls and all, is a message."""
    message = {
        "role": "assistant",
        "content": "hi",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    assert turns(HELLO, message, HELLO)[1] == ("assistant", ["hi"])


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"role": "user", "content": ""}, "messages[0].content"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": []}, "messages[0].content"),
        ({"role": "user", "content": "\n "}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "text", "text": " "}]}, "messages[0].text"),
        ({"role": "user", "content": 3}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "video", "video": {}}]}, "messages[0].content"),
        (
            {"role": "user", "content": [{"type": "text", "text": "a", "colour": 1}]},
            "messages[0].content.colour",
        ),
        ({"role": "user", "content": "a", "tool_calls": []}, "messages[0].tool_calls"),
        ({"role": "user", "content": "a", "weight": 1}, "messages[0].weight"),
        ({"role": "system", "content": [{"type": "image_url", "image_url": {}}]}, "messages[0].content"),
        ({"role": "assistant", "content": ""}, "messages[0].content"),
        ({"role": "tool", "content": "a"}, "messages[0].tool_call_id"),
        ({"role": "critic", "content": "a"}, "messages[0].role"),
        ({"content": "a"}, "messages[0].role"),
        ("a", "messages[0]"),
    ],
)
def test_a_message_that_cannot_be_said_is_named(message: Any, named: str) -> None:
    """Empty ones too: Anthropic takes none, and leaving them out would be another conversation."""
    assert fault(messages=[message, HELLO]) == named


@pytest.mark.parametrize("messages", [[], [{"role": "system", "content": "a"}], "a", {}, None])
def test_something_must_be_asked(messages: Any) -> None:
    """A system prompt alone is no question at Anthropic."""
    assert fault(messages=messages) == "messages"


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", '"a"', None, {"a": 1}])
def test_arguments_must_be_a_json_object(arguments: Any) -> None:
    """OpenAI's are text that a model wrote; what is no object cannot be said."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    named = fault(messages=[HELLO, {"role": "assistant", "tool_calls": [call]}, HELLO])
    assert named == "messages[1].tool_calls.function.arguments"


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("https://h/a.png", {"type": "url", "url": "https://h/a.png"}),
        ("data:image/jpg;base64,aGk=", {"type": "base64", "media_type": "image/jpeg", "data": "aGk="}),
        ("data:image/WEBP;base64,aGk=", {"type": "base64", "media_type": "image/webp", "data": "aGk="}),
    ],
)
def test_images_by_address_or_in_the_request(url: str, source: Mapping[str, str]) -> None:
    """Both ways that OpenAI has."""
    part = {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}
    said = write(messages=[{"role": "user", "content": [part]}])
    assert said["messages"][0]["content"] == [{"type": "image", "source": source}]


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ({"url": "http://h/a.png"}, ""),
        ({"url": "data:image/png,plain"}, ""),
        ({"url": "data:image/png;base64,"}, ""),
        ({"url": "data:image/tiff;base64,aGk="}, ""),
        ({"url": "file:///etc/passwd"}, ""),
        ({"url": "https://h/a.png", "detail": "low"}, ".detail"),
        ({}, ".url"),
        ({"url": 3}, ".url"),
    ],
)
def test_other_images_are_errors(image: Any, named: str) -> None:
    """Plain http, kinds that Claude does not see, and a look that Anthropic cannot be told to take."""
    part = {"type": "image_url", "image_url": image}
    assert fault(messages=[{"role": "user", "content": [part]}]) == f"messages[0].image_url{named}"


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ({"file_id": "file-1"}, ".file_id"),
        ({"file_data": "data:text/plain;base64,aGk="}, ""),
        ({}, ".file_data"),
    ],
)
def test_files_that_are_no_pdf_are_errors(file: Any, named: str) -> None:
    """A file of OpenAI's is not at Anthropic."""
    messages = [{"role": "user", "content": [{"type": "file", "file": file}]}]
    assert fault(messages=messages) == f"messages[0].file{named}"


# tools


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"parallel_tool_calls": True}, None),
        ({"tool_choice": "required", "parallel_tool_calls": True}, {"type": "any"}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
    ],
)
def test_choice_of_tools_and_one_at_a_time(fields: Any, choice: Any) -> None:
    """OpenAI's two fields are one of Anthropic's, in whichever order they come."""
    assert write(tools=[TOOL], **fields).get("tool_choice") == choice


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_call_cannot_be_demanded_without_tools(choice: Any) -> None:
    """OpenAI refuses it, too."""
    assert fault(tool_choice=choice) == "tool_choice"


def test_a_tool_without_parameters_takes_none() -> None:
    """OpenAI lets the schema be missing or empty, Anthropic wants an object."""
    for parameters in (None, {}):
        tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}
        assert write(tools=[tool])["tools"] == [
            {"name": "f", "description": "d", "input_schema": {"type": "object"}}
        ]


@pytest.mark.parametrize(
    ("tool", "named"),
    [
        ({"type": "function"}, "tools[0].function"),
        ({"type": "function", "function": {}}, "tools[0].function.name"),
        ({"type": "function", "function": {"name": "f", "cost": 1}}, "tools[0].function.cost"),
        ({"type": "function", "function": {"name": "f", "parameters": []}}, "tools[0].function.parameters"),
        ({"type": "function", "function": {"name": "f", "strict": 1}}, "tools[0].function.strict"),
        ({"type": "web_search"}, "tools[0].type"),
        (3, "tools[0]"),
    ],
)
def test_a_tool_that_cannot_be_said_is_named(tool: Any, named: str) -> None:
    """By its place and its field."""
    assert fault(tools=[tool]) == named


# the shape of the answer


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        ({"type": "grammar"}, "response_format"),
        ("json", "response_format"),
        ({"type": "text", "colour": 1}, "response_format.colour"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, "response_format.json_schema.schema"),
        (
            {"type": "json_schema", "json_schema": {"description": "a", "schema": {"description": "b"}}},
            "response_format.json_schema.description",
        ),
    ],
)
def test_a_shape_that_cannot_be_said_is_named(shape: Any, named: str) -> None:
    """Two descriptions of one schema among them."""
    assert fault(response_format=shape) == named


# bookkeeping


def test_the_safety_identifier_goes_before_the_user() -> None:
    """It is OpenAI's successor of `user`; Anthropic has one word for both."""
    both = {"user": "old", "safety_identifier": "new"}
    assert write(**both)["metadata"] == {"user_id": "new"}
    assert write(**dict(reversed(both.items())))["metadata"] == {"user_id": "new"}


def test_auto_is_auto_tier() -> None:
    """A tier that Anthropic does not have is an error."""
    assert write(service_tier="auto")["service_tier"] == "auto"
    assert fault(service_tier="flex") == "service_tier"


@pytest.mark.parametrize(
    ("name", "value"), [("metadata", "a"), ("prompt_cache_key", 1), ("user", 5), ("store", "yes")]
)
def test_bookkeeping_of_the_wrong_type_is_an_error(name: str, value: Any) -> None:
    """What does not matter must still be what it says."""
    assert fault(**{name: value}) == name


def test_an_unknown_field_is_an_error() -> None:
    """What OpenAI may add tomorrow is not dropped."""
    assert fault(creativity=0.5) == "creativity"


@pytest.mark.parametrize("endpoint", [endpoint for endpoint in Endpoint if endpoint is not Endpoint.CHAT])
def test_other_endpoints_are_named(endpoint: Endpoint) -> None:
    """Anthropic has chat only."""
    with pytest.raises(UntranslatableError) as caught:
        write_body(call_of(b"{}", endpoint))
    assert str(caught.value) == f"'{endpoint.value}' is not offered by Anthropic"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'"a"', b"null", b"\xff"])
def test_a_body_that_is_no_object_is_an_error(body: bytes) -> None:
    """Never an exception of another kind."""
    with pytest.raises(UntranslatableError, match="body"):
        write_body(call_of(body))


def test_a_body_nested_beyond_measure_is_an_error() -> None:
    """The writer has a limit of its own, lower than the reader's."""
    schema = b'{"a":' * 300 + b"1" + b"}" * 300
    tool = b'{"type":"function","function":{"name":"f","parameters":%b}}' % schema
    body = b'{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[%b]}' % tool
    with pytest.raises(UntranslatableError, match="body"):
        write_body(call_of(body))


WORDS = st.sampled_from(
    [
        *("role", "content", "type", "text", "user", "assistant", "tool", "system", "function", "name"),
        *(
            "tool_calls",
            "tool_call_id",
            "id",
            "arguments",
            "{}",
            "image_url",
            "url",
            "data:image/png;base64,aa",
        ),
        *("file", "file_data", "json_schema", "schema", "strict", "none", "low", "high", "auto", "required"),
        *("thinking_blocks", "thinking", "signature", "detail", "description", "parameters", "refusal", ""),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 3) | WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)
ASKED = [example.asked for example in EXAMPLES.values() if isinstance(example, Says | Raises)]


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, part in inner for place in [(*here, key), *places(part, (*here, key))]]


@st.composite
def requests(draw: st.DrawFn) -> Mapping[str, Any]:
    """Some of the examples put together, with something else in up to two places."""
    body: dict[str, Any] = copy.deepcopy(PLAIN)
    for asked in draw(st.lists(st.sampled_from(ASKED), max_size=3)):
        body |= copy.deepcopy(dict(asked))
    for _ in range(draw(st.integers(0, 2))):
        *way, last = draw(st.sampled_from(places(body) or [("model",)]))
        inner: Any = body
        for key in way:
            inner = inner[key]
        inner[last] = draw(JSON)
    return body


@given(requests() | st.dictionaries(st.sampled_from(CHAT) | st.text(max_size=3), JSON, max_size=6))
def test_any_object_is_written_or_named(body: Mapping[str, Any]) -> None:
    """Whatever JSON object comes, bytes of JSON go out or an error names a field; nothing else is raised."""
    call = call_of(json.dumps(body, allow_nan=False).encode())
    written, named = b"", ""
    try:
        written = write_body(call)
    except UntranslatableError as error:
        named = error.param
    assert bool(written) is not bool(named)
    assert not written or orjson.loads(written)["max_tokens"] >= 1
