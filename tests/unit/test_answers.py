"""What answers in OpenAI's shapes are read as."""

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.money.usage import Usage
from batchmill.providers.answers import is_answer, is_empty, parse, read_finish_reason, read_model, read_usage
from batchmill.requests.model import Endpoint

CHAT, RESPONSES, EMBEDDINGS = Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.EMBEDDINGS


def test_chat_usage_with_every_detail() -> None:
    """Details are subsets of input and output."""
    usage = {
        "prompt_tokens": 2000,
        "completion_tokens": 500,
        "total_tokens": 2500,
        "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 100, "audio_tokens": 7},
        "completion_tokens_details": {
            "reasoning_tokens": 64,
            "audio_tokens": 8,
            "accepted_prediction_tokens": 1,
            "rejected_prediction_tokens": 2,
        },
    }
    assert read_usage(CHAT, {"usage": usage}) == Usage(
        input_tokens=2000,
        cached_tokens=1024,
        cache_write_5m_tokens=100,
        output_tokens=500,
        reasoning_tokens=64,
        audio_input_tokens=7,
        audio_output_tokens=8,
    )


def test_responses_usage() -> None:
    """The same idea in other words; the cache writes split by how long they live."""
    usage = {
        "input_tokens": 90,
        "input_tokens_details": {
            "cached_tokens": 10,
            "cache_write_tokens": 50,
            "cache_write_tokens_details": {"ttl_30m_tokens": 20, "ttl_12h_tokens": 30},
        },
        "output_tokens": 40,
        "output_tokens_details": {"reasoning_tokens": 30},
        "total_tokens": 130,
    }
    assert read_usage(RESPONSES, {"usage": usage}) == Usage(
        input_tokens=90,
        cached_tokens=10,
        cache_write_5m_tokens=20,
        cache_write_1h_tokens=30,
        output_tokens=40,
        reasoning_tokens=30,
    )


@pytest.mark.parametrize("usage", [{"prompt_tokens": 8, "total_tokens": 8}, {"total_tokens": 8}])
def test_embeddings_usage(usage: dict[str, int]) -> None:
    """Embeddings count input only."""
    assert read_usage(EMBEDDINGS, {"usage": usage}) == Usage(input_tokens=8)


def test_moderations_cost_nothing() -> None:
    """No usage block where none is expected is a usage of nothing, not an unknown one."""
    assert read_usage(Endpoint.MODERATIONS, {"results": []}) == Usage()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"usage": None},
        {"usage": {}},
        {"usage": "12"},
        {"usage": {"prompt_tokens": 5}},
        {"usage": {"completion_tokens": 5}},
        {"usage": {"prompt_tokens": -1, "completion_tokens": 2}},
        {"usage": {"prompt_tokens": 1.5, "completion_tokens": 2}},
        {"usage": {"prompt_tokens": True, "completion_tokens": 2}},
    ],
)
def test_unsaid_usage_is_unknown_not_zero(answer: dict[str, Any]) -> None:
    """A cost that cannot be known must not look like no cost."""
    assert read_usage(CHAT, answer) is None


def test_usage_in_text_and_nulls_is_read() -> None:
    """Numbers sent as text count, null details are no details."""
    usage = {
        "prompt_tokens": "12",
        "completion_tokens": 3.0,
        "prompt_tokens_details": None,
        "completion_tokens_details": {"reasoning_tokens": None},
    }
    assert read_usage(CHAT, {"usage": usage}) == Usage(input_tokens=12, output_tokens=3)


def test_missing_output_follows_from_the_total() -> None:
    """Input and total given, output is the difference."""
    usage = {"prompt_tokens": 12, "total_tokens": 20}
    assert read_usage(CHAT, {"usage": usage}) == Usage(input_tokens=12, output_tokens=8)


def test_thinking_outside_completion_tokens_is_output() -> None:
    """Where the total holds more than input and output, the surplus was thought, and billed."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 45,
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    assert read_usage(CHAT, {"usage": usage}) == Usage(input_tokens=10, output_tokens=35, reasoning_tokens=30)


def test_subsets_never_exceed_their_whole() -> None:
    """More cached than sent cannot be: prices must not go below zero."""
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 99}}
    read = read_usage(CHAT, {"usage": usage})
    assert read is not None
    assert read.cached_tokens == 10


@pytest.mark.parametrize("reason", [[], {}, ["stop"], 7, None])
def test_a_reason_that_is_no_word_ends_nothing_well(reason: Any) -> None:
    """Some server's mistake: the answer stands, and nothing is raised."""
    answer = {"choices": [{"message": {"content": ""}, "finish_reason": reason}]}
    assert not is_empty(CHAT, answer)
    assert read_finish_reason(CHAT, answer) == ""


def test_what_was_read_from_the_cache_was_not_written_to_it() -> None:
    """Both together are no more than the input: each token has one price."""
    details = {"cached_tokens": 8, "cache_write_tokens": 9}
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": details}
    read = read_usage(CHAT, {"usage": usage})
    assert read is not None
    assert (read.cached_tokens, read.cache_write_5m_tokens) == (8, 2)


@pytest.mark.parametrize(
    ("cost", "text"),
    [(0.00012, "0.00012"), ("0.5", "0.5"), (1e-7, "0.0000001"), (0, "0"), (3, "3")],
)
def test_openrouters_own_cost_is_kept(cost: Any, text: str) -> None:
    """The provider's figure is plain decimal text, exponents written out."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": cost}
    read = read_usage(CHAT, {"usage": usage})
    assert read is not None
    assert read.reported_cost_usd is not None
    assert float(read.reported_cost_usd) == float(cost)
    assert read.reported_cost_usd.rstrip("0").rstrip(".") in (text, text.rstrip("0"))
    assert "e" not in read.reported_cost_usd.lower()


@pytest.mark.parametrize("cost", [-1, "nan", "1e-999999999", "1e99", True, [], "free"])
def test_a_cost_that_is_no_amount_is_not_said(cost: Any) -> None:
    """Nonsense is no price."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": cost}
    read = read_usage(CHAT, {"usage": usage})
    assert read is not None
    assert read.reported_cost_usd is None


@pytest.mark.parametrize(
    ("told", "usd"),
    [
        ({"is_byok": True, "cost_details": {"upstream_inference_cost": 0.0360795}}, "0.036079500000000000"),
        (
            {"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": "0.02"}},
            "0.021000000000000000",
        ),
        ({"is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"is_byok": True}, None),
        (
            {"cost": 0.02, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.019}},
            "0.020000000000000000",
        ),
        ({"cost": 0.02, "cost_details": {"upstream_inference_cost": 0.019}}, "0.020000000000000000"),
    ],
)
def test_a_key_of_ones_own_behind_openrouter(told: dict[str, Any], usd: str | None) -> None:
    """The fee and what the provider behind charges together; the fee alone is no cost, and prices count instead."""
    usage = {"prompt_tokens": 9171, "completion_tokens": 113, "cost": 0} | told
    read = read_usage(CHAT, {"usage": usage})
    assert read == Usage(input_tokens=9171, output_tokens=113, reported_cost_usd=usd)


@pytest.mark.parametrize(
    ("reasons", "reason"),
    [
        (["stop"], "stop"),
        (["length"], "length"),
        (["tool_calls"], "tool_calls"),
        (["stop", "length", "content_filter"], "length"),
        (["stop", "stop"], "stop"),
        (["stop", None], ""),
        ([], ""),
    ],
)
def test_finish_reason_of_choices(reasons: list[str | None], reason: str) -> None:
    """Of several choices the first that is not complete speaks."""
    choices = [{"finish_reason": reason} for reason in reasons]
    assert read_finish_reason(CHAT, {"choices": choices}) == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": "completed", "output": [{"type": "message"}]}, "stop"),
        ({"status": "completed", "output": [{"type": "reasoning"}, {"type": "function_call"}]}, "tool_calls"),
        ({"status": "completed", "output": [{"type": "web_search_call"}, {"type": "message"}]}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "incomplete", "incomplete_details": None}, "incomplete"),
        ({}, ""),
    ],
)
def test_finish_reason_of_a_response(answer: dict[str, Any], reason: str) -> None:
    """A response's status is told in the words of chat completions."""
    assert read_finish_reason(RESPONSES, answer) == reason


def test_embeddings_have_no_finish_reason() -> None:
    """Where the endpoint knows none, it is empty."""
    assert read_finish_reason(EMBEDDINGS, {"data": [1]}) == ""


@pytest.mark.parametrize(
    ("endpoint", "answer", "is_one"),
    [
        (CHAT, {"choices": [{}]}, True),
        (CHAT, {"choices": []}, False),
        (CHAT, {}, False),
        (EMBEDDINGS, {"data": [{}]}, True),
        (RESPONSES, {"output": [], "status": "incomplete"}, True),
        (RESPONSES, {"output": [], "status": "in_progress"}, False),
        (RESPONSES, {"output": [], "status": []}, True),
        (Endpoint.MODERATIONS, {"results": [{}]}, True),
    ],
)
def test_an_answer_holds_what_was_asked_for(endpoint: Endpoint, answer: dict[str, Any], is_one: bool) -> None:
    """An object without the endpoint's list, or one not finished, is no answer."""
    assert is_answer(endpoint, answer) is is_one


def test_valid_json_passes_byte_for_byte() -> None:
    """Spacing, key order and number spelling are the provider's."""
    body = b'{ "b": 1.0,\n "a": "\\u00e9" }'
    assert parse(body)[1] is body


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b'{"c":"cut \\ud83d"}', "cut \ufffd"),
        (b'{"c":"cut \\ud83d and on"}', "cut \ufffd and on"),
        (b'{"c":"\\ude00 tail, \\ud83d\\ude00 whole"}', "\ufffd tail, \U0001f600 whole"),
        (b'{"c":"bad \xff byte"}', "bad \ufffd byte"),
        (b'\xef\xbb\xbf{"c":"marked"}', "marked"),
        (b'{"c":NaN}', None),
    ],
)
def test_a_blemish_does_not_lose_a_paid_answer(body: bytes, content: str | None) -> None:
    """Half an emoji, a bad byte or NaN is replaced, the rest kept, and the result is valid JSON."""
    value, repaired = parse(body)
    assert value == orjson.loads(repaired) == {"c": content}


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a":', b"<html>", b'{"a":"b', b"[" * 100_000, b"1" * 10_000 + b"x"]
)
def test_truncated_or_foreign_bytes_are_no_json(body: bytes) -> None:
    """What cannot be read raises ValueError and nothing else."""
    with pytest.raises(ValueError):  # noqa: PT011 - the class is the claim
        parse(body)


def test_model_of_an_odd_shape_is_not_said() -> None:
    """A model that is no text is no model."""
    assert read_model({"model": 3}) == ""


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "7", "x", "stop"])
JSON = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(["a", "type"]), SCALARS)
NAMES = st.sampled_from(
    [
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "input_tokens",
        "output_tokens",
        "cost",
        "prompt_tokens_details",
        "completion_tokens_details",
        "cached_tokens",
        "reasoning_tokens",
    ]
)


USAGE = st.dictionaries(NAMES, SCALARS | st.dictionaries(NAMES, SCALARS, max_size=3))


@given(st.sampled_from(list(Endpoint)), USAGE)
def test_no_usage_of_any_shape_raises(endpoint: Endpoint, usage: dict[str, Any]) -> None:
    """Whatever is in the usage block, the counts are whole, not negative, and subsets fit."""
    read = read_usage(endpoint, {"usage": usage})
    if read is not None:
        assert 0 <= read.cached_tokens <= read.input_tokens
        assert 0 <= read.reasoning_tokens <= read.output_tokens
        assert read.reported_cost_usd is None or math.isfinite(float(read.reported_cost_usd))


@given(JSON)
def test_no_answer_of_any_shape_raises(value: Any) -> None:
    """Choices, output, status and model may be anything."""
    answer = {"choices": value, "output": value, "status": value, "incomplete_details": value, "model": value}
    for endpoint in Endpoint:
        assert isinstance(read_finish_reason(endpoint, answer), str)
        assert isinstance(is_answer(endpoint, answer), bool)
