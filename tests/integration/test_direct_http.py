"""Single requests over HTTP: the official client, sync and async, whole and in pieces, through a real server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import orjson
import pytest
from openai import AsyncOpenAI, OpenAI

from batchmill.sandbox.app import Behaviour
from tests.support.clocks import until
from tests.support.direct import Place, served
from tests.support.sandboxes import send

HELLO: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
Use = Callable[[AsyncOpenAI, Place], Awaitable[None]]


@pytest.fixture
def dialect() -> str:
    """One database will do: what differs is behind the desk."""
    return "sqlite"


@pytest.fixture
def asked(database_url: str, tmp_path: Any) -> Callable[..., Place]:
    """What is left where the official client has asked so."""

    def run(use: Use, behaviour: Behaviour | None = None, **variables: str) -> Place:
        async def with_client(url: str, here: Place) -> None:
            async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
                await use(client, here)

        return served(with_client, database_url, tmp_path, behaviour, **variables)

    return run


def test_the_official_client_is_answered(asked: Callable[..., Place]) -> None:
    """The answer is the provider's; headers tell what it cost, whose it is, and that the second time is free."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        raw = await client.chat.completions.with_raw_response.create(**HELLO)
        again = await client.chat.completions.with_raw_response.create(**HELLO)
        assert raw.parse().choices[0].message.content == again.parse().choices[0].message.content
        told = [
            {
                name: one.headers[f"x-batchmill-{name}"]
                for name in ("cached", "provider", "model", "selection")
            }
            for one in (raw, again)
        ]
        common = {"provider": "openai", "model": "gpt-4o-mini", "selection": "manual"}
        assert told == [{"cached": "false"} | common, {"cached": "true"} | common]
        assert float(raw.headers["x-batchmill-cost-usd"]) > 0
        assert again.headers["x-batchmill-cost-usd"] == "0"
        assert raw.headers["x-batchmill-request"].startswith("batch_req_")
        assert raw.headers["x-request-id"].startswith("req_")

    assert len(asked(use).calls()) == 1


def test_the_sync_client_too(asked: Callable[..., Place]) -> None:
    """Plain and streamed, of a thread of its own."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        def ask() -> tuple[str | None, str]:
            with OpenAI(base_url=client.base_url, api_key="any") as plain:
                whole = plain.chat.completions.create(**HELLO).choices[0].message.content
                pieces = plain.chat.completions.create(**HELLO, stream=True)
                return whole, "".join(piece.choices[0].delta.content or "" for piece in pieces)

        whole, streamed = await asyncio.to_thread(ask)
        assert whole == streamed

    asked(use)


def test_every_endpoint_is_served(asked: Callable[..., Place]) -> None:
    """Responses, embeddings, completions and moderations, the last without a model, are answered as well."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        response = await client.responses.create(model="gpt-4o-mini", input="hello")
        assert response.output_text
        embedded = await client.embeddings.create(model="text-embedding-3-small", input="hello")
        assert len(embedded.data[0].embedding) == 1536
        completed = await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hello")
        assert completed.choices[0].text
        assert not (await client.moderations.create(input="hello")).results[0].flagged

    asked(use).books()


@pytest.mark.parametrize("with_usage", [True, False])
@pytest.mark.parametrize("is_hit", [True, False])
def test_a_stream_is_the_same_live_and_from_the_cache(
    asked: Callable[..., Place], is_hit: bool, with_usage: bool
) -> None:
    """Pieces of a live answer and of one from the cache make the same text; usage is told to who asks."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        if is_hit:
            await client.chat.completions.create(**HELLO)
        options = {"stream_options": {"include_usage": True}} if with_usage else {}
        stream = await client.chat.completions.create(**HELLO, stream=True, **options)  # type: ignore[call-overload]
        assert stream.response.headers["x-batchmill-cached"] == str(is_hit).lower()
        pieces = [piece async for piece in stream]
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        whole = await client.chat.completions.create(**HELLO)
        assert text == whole.choices[0].message.content
        assert [piece.usage for piece in pieces if piece.usage] == ([whole.usage] if with_usage else [])

    here = asked(use)
    assert len(here.calls()) == 1
    here.books()


@pytest.mark.parametrize("model", ["gpt\u20ac", "gpt\nx-injected: 1", "gpt\x7f", "\U0001d55d"])
def test_a_model_of_any_name_is_streamed(asked: Callable[..., Place], model: str) -> None:
    """A name that no header can carry is in none; the answer comes all the same, and live as from the cache."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        for is_hit in ("false", "true"):
            raw = await client.chat.completions.with_raw_response.create(
                **HELLO | {"model": model}, stream=True
            )
            pieces = [piece async for piece in raw.parse()]
            assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
            assert raw.headers["x-batchmill-cached"] == is_hit
            assert not {"x-batchmill-model", "x-injected"} & set(raw.headers)

    asked(use)


def test_a_response_is_streamed(asked: Callable[..., Place]) -> None:
    """The client's own assembly of the events ends with the answer that is asked whole, live and from the cache."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        texts = []
        for _ in range(2):
            async with client.responses.stream(model="gpt-4o-mini", input="hello") as stream:
                async for _event in stream:
                    pass
                texts.append((await stream.get_final_response()).output_text)
        whole = await client.responses.create(model="gpt-4o-mini", input="hello")
        assert texts == [whole.output_text] * 2

    assert len(asked(use).calls()) == 1


def test_who_speaks_another_language_is_streamed_from_the_whole(asked: Callable[..., Place]) -> None:
    """Anthropic's answers come whole here, and go out as proper pieces."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        body = HELLO | {"model": "anthropic/claude-haiku-4-5"}
        stream = await client.chat.completions.create(**body, stream=True)
        text = "".join([piece.choices[0].delta.content or "" async for piece in stream])
        assert "sandbox" in text
        assert stream.response.headers["x-batchmill-provider"] == "anthropic"

    asked(use, ANTHROPIC_API_KEY="sk-ant-0123456789")


def test_a_stream_that_breaks_off_is_told_as_an_error(asked: Callable[..., Place]) -> None:
    """What came before is there; then the client raises, as it would with the provider itself."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        stream = await client.chat.completions.create(**(HELLO | {"model": "sandbox/truncated"}), stream=True)
        await anext(stream)
        with pytest.raises(openai.APIError) as caught:
            [piece async for piece in stream]
        assert caught.value.code == "broken_answer"

    here = asked(use)
    assert here.states()["attempts"] == {"unknown": 1}
    here.books()


def test_a_client_who_goes_away_is_settled_all_the_same(asked: Callable[..., Place]) -> None:
    """Its stream is read to the end, and priced by its usage."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        stream = await client.chat.completions.create(**(HELLO | {"model": "sandbox/drip"}), stream=True)
        async for _ in stream:
            break
        await stream.close()
        await until(lambda: bool(here.costs()))

    here = asked(use, Behaviour(drip_s=1.0))
    assert here.states()["attempts"] == {"settled": 1}
    assert here.states()["requests"] == {"done": 1}


def test_a_client_who_does_not_wait_is_settled_all_the_same(asked: Callable[..., Place]) -> None:
    """The call goes on without him; who asks again has the answer for nothing."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        with pytest.raises(openai.APITimeoutError):
            await client.with_options(timeout=0.3).chat.completions.create(**HELLO)
        await until(lambda: bool(here.costs()))
        raw = await client.chat.completions.with_raw_response.create(**HELLO)
        assert raw.headers["x-batchmill-cached"] == "true"

    assert len(asked(use, Behaviour(latency_s=(1.0, 1.0))).calls()) == 1


@pytest.mark.parametrize(
    ("model", "status", "code", "again"),
    [
        ("sandbox/400", 400, None, None),
        ("sandbox/422", 422, None, None),
        ("sandbox/404", 404, "model_not_found", None),
        ("sandbox/401", 502, "invalid_api_key", "false"),
        ("sandbox/quota", 502, "insufficient_quota", "false"),
        ("sandbox/500", 502, "server_error", None),
        ("sandbox/reset-after", 502, "connection_reset", None),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_what_goes_wrong_is_told_in_the_client_s_words(
    asked: Callable[..., Place], model: str, status: int, code: str | None, again: str | None, stream: bool
) -> None:
    """A refusal is the provider's own; what is about our account, or its trouble, is a 502; streamed or not."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(**(HELLO | {"model": model}), stream=stream)
        assert (caught.value.status_code, caught.value.code) == (status, code)
        assert caught.value.response.headers.get("x-should-retry") == again

    asked(use, BATCHMILL_MAX_TRIES="2")


def test_a_budget_without_room_is_told_as_quota(asked: Callable[..., Place]) -> None:
    """429 `budget_exceeded`, with the budget's words, and not to be sent again."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        here.add_budget(1)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.with_options(max_retries=2).chat.completions.create(**HELLO)
        assert (caught.value.code, caught.value.type) == ("budget_exceeded", "insufficient_quota")
        assert "budget" in caught.value.message

    assert len(asked(use).states()["requests"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/chat/completions", b"{nope", "invalid_json", None),
        ("/chat/completions", b"[1]", "invalid_json", None),
        ("/chat/completions", {"messages": []}, "missing_required_parameter", "model"),
        ("/chat/completions", {"model": "m"}, "missing_required_parameter", "messages"),
        ("/chat/completions", HELLO | {"messages": "hello"}, "invalid_type", "messages"),
        ("/chat/completions", HELLO | {"stream": "yes"}, "invalid_type", "stream"),
        ("/chat/completions", HELLO | {"stream_options": {}}, "invalid_value", "stream_options"),
        ("/chat/completions", HELLO | {"batchmill": {"prio": 1}}, "unknown_parameter", "batchmill.prio"),
        (
            "/chat/completions",
            HELLO | {"batchmill": {"priority": "x"}},
            "invalid_value",
            "batchmill.priority",
        ),
        ("/chat/completions", HELLO | {"batchmill": {"quality": "x"}}, "invalid_value", "batchmill.quality"),
        ("/embeddings", {"model": "m", "input": "x", "stream": True}, "unknown_parameter", "stream"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(
    asked: Callable[..., Place], path: str, body: Any, code: str, param: str | None
) -> None:
    """Nothing is entered of a request that is none."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        status, _, answer = await send(f"{client.base_url}{path.removeprefix('/')}", body)
        assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, code, param)

    assert asked(use).states()["requests"] == {}


def test_our_own_field_goes_to_nobody_else(asked: Callable[..., Place]) -> None:
    """What is said under `batchmill` is heeded, kept with the request, and not sent."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        ours = {"batchmill": {"cache": "off", "user": "ann", "request_type": "greeting", "priority": "low"}}
        for _ in range(2):
            await client.chat.completions.create(**HELLO, extra_body=ours)

    here = asked(use)
    books = here.books()
    assert len(here.calls()) == 2
    assert {(row.user_id, row.request_type) for row in books.ledger} == {("ann", "greeting")}
    assert {row.lane for row in books.batches.values()} == {"low"}


def test_models_are_told(asked: Callable[..., Place]) -> None:
    """Those of providers that can be called here; one that nobody knows is a 404."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        told = [model.id async for model in await client.models.list()]
        assert told
        assert any(name.startswith("anthropic/") for name in told)
        assert not any(name.startswith("gemini/") for name in told)
        assert (await client.models.retrieve(told[0])).id == told[0]
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("no-such-model")
        assert caught.value.code == "model_not_found"

    asked(use)


def test_a_provider_without_a_key_is_no_model(asked: Callable[..., Place]) -> None:
    """Who asks for one is told which key is missing."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(**(HELLO | {"model": "gemini/gemini-2.5-flash"}))
        assert "GEMINI_API_KEY" in caught.value.message or "key" in caught.value.message

    assert asked(use).states()["requests"] == {}


def test_bytes_of_an_answer_are_the_provider_s(asked: Callable[..., Place]) -> None:
    """Fields that nobody here knows come through."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        raw = await client.chat.completions.with_raw_response.create(**HELLO)
        assert orjson.loads(raw.content)["sandbox"] == "not a model"

    asked(use)


def test_the_description_refers_to_nothing_that_is_not_there(asked: Callable[..., Place]) -> None:
    """Every reference in the OpenAPI document leads somewhere, also in what is said of bodies by hand."""

    async def use(client: AsyncOpenAI, here: Place) -> None:
        document = await client.get(
            "http://" + client.base_url.netloc.decode() + "/openapi.json", cast_to=object
        )
        found: list[str] = []

        def look(value: Any) -> None:
            for name, one in value.items() if isinstance(value, dict) else enumerate(value):
                if name == "$ref":
                    found.append(one)
                elif isinstance(one, dict | list):
                    look(one)

        look(document)
        assert found
        for reference in found:
            place: Any = document
            for part in reference.removeprefix("#/").split("/"):
                place = place[part]
        body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]  # type: ignore[index]
        assert "batchmill" in body["content"]["application/json"]["schema"]["properties"]

    asked(use)
