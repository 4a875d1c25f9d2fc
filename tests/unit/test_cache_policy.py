"""Cache policy: who may use an answer given before, what is kept, for how long."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.cache.policy import keep_s, may_share, refusal_lasts, storable
from batchmill.cache.ttl import DEFAULT_TTLS_S, CacheTtls, parse_ttls
from batchmill.errors import SettingsError
from batchmill.providers.base import Reply, Verdict
from batchmill.requests.model import CacheMode, Endpoint

VARIED: list[dict[str, Any]] = [
    {"temperature": 0.7},
    {"temperature": 1, "seed": None},
    {"n": 2},
    {"n": 2, "seed": 7},
]
SETTLED: list[dict[str, Any]] = [
    {},
    {"temperature": 0},
    {"temperature": None, "n": None},
    {"temperature": 0.7, "seed": 0},
    {"n": 1},
]
WHOLE: dict[Endpoint, tuple[str, Any]] = {
    Endpoint.CHAT: ("stop", {"choices": [{"message": {"content": "yes"}}]}),
    Endpoint.COMPLETIONS: ("stop", {"choices": [{"text": "yes"}]}),
    Endpoint.RESPONSES: (
        "stop",
        {"output": [{"type": "reasoning"}, {"type": "message", "content": [{"text": "yes"}]}]},
    ),
    Endpoint.EMBEDDINGS: ("", {"data": [{"embedding": [0.1]}]}),
    Endpoint.MODERATIONS: ("", {"results": [{"flagged": False}]}),
}


def answer(finish_reason: str, body: Any, **fields: Any) -> Reply:
    given: dict[str, Any] = {"verdict": Verdict.ANSWERED, "status_code": 200, **fields}
    return Reply(finish_reason=finish_reason, body=orjson.dumps(body), **given)


@pytest.mark.parametrize("body", SETTLED)
def test_auto_reuses_settled_requests(body: dict[str, Any]) -> None:
    """Unless it says otherwise, a request may be answered by an answer given before."""
    assert may_share(body, CacheMode.AUTO, Endpoint.CHAT)


@pytest.mark.parametrize("body", VARIED)
def test_auto_leaves_variety_alone(body: dict[str, Any]) -> None:
    """A request for variety is asked each time, and its answer is no one else's."""
    assert not may_share(body, CacheMode.AUTO, Endpoint.CHAT)


@pytest.mark.parametrize("endpoint", [Endpoint.EMBEDDINGS, Endpoint.MODERATIONS])
@pytest.mark.parametrize("body", VARIED)
def test_vectors_and_verdicts_do_not_vary(body: dict[str, Any], endpoint: Endpoint) -> None:
    """Embeddings and moderations are deterministic, whatever stray field is in the request."""
    assert may_share(body, CacheMode.AUTO, endpoint)


@pytest.mark.parametrize("body", VARIED + SETTLED)
@pytest.mark.parametrize(("mode", "expected"), [(CacheMode.ON, True), (CacheMode.OFF, False)])
def test_on_and_off_are_what_they_say(body: dict[str, Any], mode: CacheMode, expected: bool) -> None:
    """The batch's explicit word goes before what its requests look like."""
    assert may_share(body, mode, Endpoint.CHAT) is expected


def test_refresh_shares_new_answers() -> None:
    """A settled question is asked once in a batch that asks anew; that it takes no old answer is the look-up's."""
    assert may_share({}, CacheMode.REFRESH, Endpoint.CHAT)


@pytest.mark.parametrize("body", VARIED)
def test_refresh_does_not_fold_variety(body: dict[str, Any]) -> None:
    """Lines that ask for variety are each asked, even when they repeat each other."""
    assert not may_share(body, CacheMode.REFRESH, Endpoint.CHAT)


@pytest.mark.parametrize("endpoint", Endpoint)
def test_whole_answers_are_kept(endpoint: Endpoint) -> None:
    """A whole answer of every endpoint may be used again."""
    assert storable(answer(*WHOLE[endpoint]), endpoint)


@pytest.mark.parametrize("field", ["tool_calls", "function_call", "refusal"])
def test_calls_are_answers(field: str) -> None:
    """An answer that calls a tool, or declines in words, has content of its own."""
    body = {"choices": [{"message": {"content": None, field: "something"}}]}
    reason = "stop" if field == "refusal" else field
    assert storable(answer(reason, body), Endpoint.CHAT)


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("finish_reason", ["length", "content_filter", "incomplete", "max_tokens", "error"])
def test_cut_answers_are_not_kept(endpoint: Endpoint, finish_reason: str) -> None:
    """An answer that was cut off or filtered is billed, and asked again next time."""
    assert not storable(answer(finish_reason, WHOLE[endpoint][1]), endpoint)


@pytest.mark.parametrize("endpoint", [Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES])
def test_an_answer_must_say_why_it_ended(endpoint: Endpoint) -> None:
    """Where an endpoint gives finish reasons, none means that something is missing."""
    assert not storable(answer("", WHOLE[endpoint][1]), endpoint)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (Endpoint.CHAT, {"choices": []}),
        (Endpoint.CHAT, {"choices": [{"message": {"content": ""}}]}),
        (Endpoint.CHAT, {"choices": [{"message": {"content": "yes"}}, {"message": {"content": None}}]}),
        (Endpoint.COMPLETIONS, {"choices": [{"text": ""}]}),
        (Endpoint.RESPONSES, {"output": []}),
        (Endpoint.RESPONSES, {"output": [{"type": "reasoning"}]}),
        (Endpoint.RESPONSES, {"output": [{"type": "message", "content": [{"text": ""}]}]}),
        (Endpoint.EMBEDDINGS, {"data": []}),
        (Endpoint.EMBEDDINGS, {"data": [{"embedding": []}]}),
        (Endpoint.MODERATIONS, {"results": []}),
    ],
)
def test_empty_answers_are_not_kept(endpoint: Endpoint, body: Any) -> None:
    """An answer with nothing in it is no answer to give to others."""
    assert not storable(answer(WHOLE[endpoint][0], body), endpoint)


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("body", [{}, [], None, "text", {"choices": 1, "output": 1, "data": 1, "results": 0}])
def test_answers_of_another_shape_are_not_kept(endpoint: Endpoint, body: Any) -> None:
    """What does not look like an answer of its endpoint is not kept, and raises nothing."""
    assert not storable(answer(WHOLE[endpoint][0], body), endpoint)


@pytest.mark.parametrize("body", [None, b"", b"{"])
def test_no_body_is_not_kept(body: bytes | None) -> None:
    """There must be an answer to keep."""
    reply = Reply(verdict=Verdict.ANSWERED, status_code=200, finish_reason="stop", body=body)
    assert not storable(reply, Endpoint.CHAT)


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict is not Verdict.ANSWERED])
def test_only_answers_are_kept(verdict: Verdict) -> None:
    """Whatever it looks like, a reply that is no answer is not kept as one."""
    assert not storable(answer(*WHOLE[Endpoint.CHAT], verdict=verdict), Endpoint.CHAT)


@pytest.mark.parametrize("status_code", [400, 404, 413, 422])
def test_refusals_are_remembered_for_minutes(status_code: int) -> None:
    """A request that is itself at fault is not sent again for five minutes."""
    reply = Reply(verdict=Verdict.REFUSED, status_code=status_code)
    assert keep_s(reply, Endpoint.CHAT, ttl_s=86_400, refusal_ttl_s=300) == 300
    assert keep_s(reply, Endpoint.CHAT, ttl_s=86_400, refusal_ttl_s=0.5) == 0.5


@pytest.mark.parametrize(
    ("verdict", "status_code"),
    [
        (Verdict.REFUSED, 429),
        (Verdict.REFUSED, 500),
        (Verdict.REFUSED, None),
        (Verdict.BLOCKED, 400),
        (Verdict.BLOCKED, 404),
        (Verdict.THROTTLED, 429),
        (Verdict.RETRY, 503),
        (Verdict.UNKNOWN, None),
        (Verdict.UNREACHABLE, None),
    ],
)
def test_passing_faults_are_forgotten(verdict: Verdict, status_code: int | None) -> None:
    """Limits, blocked accounts, provider faults and timeouts say nothing about the next call."""
    reply = Reply(verdict=verdict, status_code=status_code)
    assert not refusal_lasts(reply)
    assert keep_s(reply, Endpoint.CHAT, ttl_s=86_400, refusal_ttl_s=300) == 0


def test_whole_answers_live_as_long_as_their_type() -> None:
    """The life of a whole answer is that of its request type."""
    assert keep_s(answer(*WHOLE[Endpoint.CHAT]), Endpoint.CHAT, ttl_s=3600, refusal_ttl_s=60) == 3600


@pytest.mark.parametrize(
    ("request_type", "ttl_s"),
    [
        ("moderation", 86_400),
        ("churn", 3600),
        ("Platform Health", 3600),
        ("ANOMALY", 300),
        ("seller_performance", 3600),
        ("seller-performance", 3600),
        (" Seller  Performance ", 3600),
        ("trend", 604_800),
        ("", 2_592_000),
        ("something else", 2_592_000),
        ("default", 2_592_000),
    ],
)
def test_lives_by_type(request_type: str, ttl_s: int) -> None:
    """Each type has its own life, however it is spelled, and every other type thirty days."""
    assert CacheTtls().of(request_type) == ttl_s


def test_given_lives_lie_over_the_defaults() -> None:
    """A mapping changes what it names, in any spelling, and nothing else."""
    ttls = CacheTtls(by_type={"Seller Performance": 60, "default": 7})
    assert (ttls.of("seller-performance"), ttls.of("other"), ttls.of("trend")) == (60, 7, 604_800)


def test_lives_from_a_setting() -> None:
    """Seconds, minutes, hours and days, with spaces where people put them."""
    ttls = parse_ttls("moderation=90s, Anomaly = 5m,my-type=2h,default=3d,")
    assert [ttls.of(name) for name in ("moderation", "anomaly", "my type", "other")] == [
        90,
        300,
        7200,
        259_200,
    ]


def test_an_empty_setting_changes_nothing() -> None:
    """No text, no change."""
    assert parse_ttls("").by_type == DEFAULT_TTLS_S


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("moderation", '"moderation" is not type=time'),
        ("=5m", '"=5m" is not type=time'),
        ("anomaly=", '"anomaly=" has no time'),
        ("anomaly=5", '"anomaly=5" has no time'),
        ("anomaly=5 weeks", '"anomaly=5 weeks" has no time'),
        ("anomaly=-5m", '"anomaly=-5m" has no time'),
        ("anomaly=0s", '"anomaly=0s" is not between'),
        ("anomaly=99999d", '"anomaly=99999d" is not between'),
        ("my-type=5m,My Type=6m", '"my_type" is given twice'),
    ],
)
def test_a_wrong_setting_names_itself(text: str, complaint: str) -> None:
    """A wrong part stops the start; the error names the variable and the part."""
    with pytest.raises(SettingsError, match=f"CACHE_LIVES: {complaint}"):
        parse_ttls(text, variable="CACHE_LIVES")


@given(st.text())
def test_any_setting_is_read_or_refused(text: str) -> None:
    """Whatever the text, there are lives above zero or a SettingsError."""
    try:
        ttls = parse_ttls(text)
    except SettingsError:
        return
    assert all(ttl_s > 0 for ttl_s in ttls.by_type.values())
