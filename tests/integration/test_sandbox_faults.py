"""Faults and limits of the sandbox on a real socket: as aiohttp, the official SDK and batchmill meet them."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import openai
import pytest

from batchmill.providers.base import Reply, Verdict
from batchmill.sandbox.app import Behaviour, Sandbox
from batchmill.sandbox.faults import FAULTS
from batchmill.sandbox.limits import Allowance, LimitRules
from batchmill.sandbox.server import Server
from tests.support.provider_servers import chat, provider

LONG_S = 20.0
SHORT_S = 0.5
PROMPT = {"messages": [{"role": "user", "content": "hello"}]}


class Clock:
    """Nanoseconds that stand still until moved."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


@contextlib.asynccontextmanager
async def serving(behaviour: Behaviour, clock: Clock | None = None) -> AsyncIterator[tuple[str, Sandbox]]:
    """A sandbox on a free port: its base URL and itself."""
    sandbox = Sandbox(behaviour, clock_ns=clock or Clock())
    server = Server(sandbox)
    try:
        yield await server.start(), sandbox
    finally:
        await server.stop(grace_s=0.0)


def meet(fault: str, use: Callable[[str], Awaitable[Any]], **behaviour: Any) -> tuple[Any, dict[str, Any]]:
    """What `use` makes of a sandbox where every call meets the fault, and the sandbox's bill afterwards."""

    async def run() -> tuple[Any, dict[str, Any]]:
        async with serving(Behaviour(fault_rates={fault: 1.0}, **behaviour)) as (base_url, sandbox):
            return await use(base_url), sandbox.bill.statement()

    return asyncio.run(run())


def patience_s(fault: str) -> float:
    """How long to wait for an answer that comes, or for one that never does."""
    return SHORT_S if fault == "timeout" else LONG_S


async def post(base_url: str, timeout_s: float = LONG_S) -> tuple[int, Any, bytes]:
    """Status, headers and body of one chat call by aiohttp."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
        session.post(f"{base_url}/chat/completions", json={"model": "m", **PROMPT}) as response,
    ):
        return response.status, response.headers.copy(), await response.read()


async def fail(base_url: str, timeout_s: float) -> Exception:
    """How a call that gets no whole answer fails in aiohttp."""
    with pytest.raises((aiohttp.ClientError, OSError)) as caught:
        await post(base_url, timeout_s)
    return caught.value


async def by_sdk(base_url: str, timeout_s: float = LONG_S) -> Any:
    """What the official SDK returns, or raises, for one call."""
    async with openai.AsyncOpenAI(
        base_url=base_url, api_key="none", max_retries=0, timeout=timeout_s
    ) as client:
        try:
            return await client.chat.completions.create(model="m", messages=PROMPT["messages"])  # type: ignore[arg-type]
        except openai.OpenAIError as error:
            return error


async def by_batchmill(base_url: str, timeout_s: float = LONG_S) -> Reply:
    """batchmill's own reading of one call."""
    async with provider(base_url) as made:
        return await made.call(chat("m", timeout_s=timeout_s))


@pytest.mark.parametrize("name", [name for name in FAULTS if name.isdecimal()])
def test_statuses(name: str) -> None:
    """An HTTP error with OpenAI's error in it, not billed."""
    (status, _, body), bill = meet(name, post)
    assert status == int(name)
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert (bill["calls"], bill["billed_calls"], bill["cost_nanos"]) == (1, 0, 0)
    assert (bill["outcomes"], bill["faults"]) == ({name: 1}, {name: 1})


@pytest.mark.parametrize(
    ("fault", "error", "outcome", "is_billed"),
    [
        ("reset-before", aiohttp.ClientOSError, "reset", False),
        ("reset-after", aiohttp.ClientOSError, "reset", True),
        ("timeout", TimeoutError, "hang", False),
        ("truncated", aiohttp.ClientPayloadError, "200", True),
    ],
)
def test_answers_that_do_not_come(fault: str, error: type[Exception], outcome: str, is_billed: bool) -> None:
    """What a client sees, and whether the sandbox charges for it."""
    seen, bill = meet(fault, lambda base_url: fail(base_url, patience_s(fault)))
    assert isinstance(seen, error)
    assert (bill["outcomes"], bill["faults"]) == ({outcome: 1}, {fault: 1})
    assert (bill["billed_calls"] == 1) == (bill["cost_nanos"] > 0) == is_billed


def test_truncated_answer_is_half_of_what_was_promised() -> None:
    """Content-Length names the whole, half of it comes, then the connection ends without a reset."""

    async def use(base_url: str) -> bytes:
        host, port = base_url.removeprefix("http://").removesuffix("/v1").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = json.dumps({"model": "m", **PROMPT}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    answer, _ = meet("truncated", use)
    head, _, body = answer.partition(b"\r\n\r\n")
    promised = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    assert promised // 2 == len(body)
    assert b"connection: close" in head
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


def test_malformed_answer_is_whole_http_and_half_json() -> None:
    """Nothing is wrong with it but its JSON; billed."""
    (status, headers, body), bill = meet("malformed", post)
    assert (status, int(headers["content-length"])) == (200, len(body))
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    assert bill["billed_calls"] == 1


def test_error_within_a_200() -> None:
    """A 200 that holds an error and no answer, as OpenRouter sends it; not billed."""
    (status, _, body), bill = meet("200-error", post)
    assert (status, json.loads(body)["error"]["code"]) == (200, 502)
    assert bill["billed_calls"] == 0


def test_cut_answer_says_so() -> None:
    """A few tokens, finish_reason length, billed for those few."""
    (_, _, body), bill = meet("length", post)
    assert json.loads(body)["choices"][0]["finish_reason"] == "length"
    assert bill["output_tokens"] == json.loads(body)["usage"]["completion_tokens"] == 4


@pytest.mark.parametrize("drip_s", [0.2, 0.001])
def test_dripping_answer_is_whole_in_the_end(drip_s: float) -> None:
    """It comes in pieces when there is time for it, and is a whole answer; the connection goes on serving."""

    async def use(base_url: str) -> tuple[int, list[Any]]:
        async with aiohttp.ClientSession() as session:
            pieces, answers = 0, []
            for _ in range(2):
                async with session.post(
                    f"{base_url}/chat/completions", json={"model": "m", **PROMPT}
                ) as response:
                    chunks = [chunk async for chunk in response.content.iter_any()]
                    pieces = max(pieces, len(chunks))
                    answers.append(json.loads(b"".join(chunks)))
            return pieces, answers

    (pieces, answers), bill = meet("drip", use, drip_s=drip_s)
    assert pieces > 1 or drip_s < 0.01
    assert all("not a model" in answer["choices"][0]["message"]["content"] for answer in answers)
    assert (bill["billed_calls"], bill["outcomes"]) == (2, {"200": 2})


def test_dripping_answer_outlasts_timeouts_between_bytes() -> None:
    """A client that only bounds the pause between bytes waits on; batchmill bounds the whole call."""

    async def use(base_url: str) -> tuple[bytes, Reply]:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=5.0)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(f"{base_url}/chat/completions", json={"model": "m", **PROMPT}) as response,
        ):
            first = await response.content.readany()
            return first, await by_batchmill(base_url, SHORT_S)

    (first, reply), bill = meet("drip", use, drip_s=60.0)
    assert first
    assert (reply.verdict, reply.error_code) == (Verdict.UNKNOWN, "request_timeout")
    assert bill["billed_calls"] == 2


def test_client_that_leaves_a_drip_is_forgotten() -> None:
    """Nothing goes on trickling once its client has gone."""

    async def run() -> None:
        server = Server(Sandbox(Behaviour(fault_rates={"drip": 1.0}, drip_s=600.0)))
        base_url = await server.start()
        with pytest.raises(TimeoutError):
            await post(base_url, SHORT_S)
        while server._answering():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        await server.stop()

    asyncio.run(asyncio.wait_for(run(), 30))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("500", openai.InternalServerError),
        ("529", openai.InternalServerError),
        ("429", openai.RateLimitError),
        ("too-large", openai.RateLimitError),
        ("reset-before", openai.APIConnectionError),
        ("reset-after", openai.APIConnectionError),
        ("truncated", openai.APIConnectionError),
        ("timeout", openai.APITimeoutError),
    ],
)
def test_sdk_meets_faults(fault: str, expected: type[Exception]) -> None:
    """The official SDK raises its own error for each."""
    assert isinstance(meet(fault, lambda base_url: by_sdk(base_url, patience_s(fault)))[0], expected)


def test_every_billed_fault_is_answered_or_unknown_to_batchmill() -> None:
    """No fault that is charged for is one that batchmill takes for free."""
    for name, fault in FAULTS.items():
        if fault.billed:
            reply, bill = meet(name, by_batchmill, drip_s=0.05)
            assert reply.verdict in (Verdict.ANSWERED, Verdict.UNKNOWN), name
            assert bill["cost_nanos"] > 0, name


def test_limits_on_the_wire() -> None:
    """Headers on every answer, errors included; the SDK raises its own error; after the wait named the door is open."""
    clock = Clock()
    behaviour = Behaviour(limits=LimitRules(rpm=Allowance(of_all=2), tpm=Allowance(of_all=100)))

    async def run() -> tuple[list[Any], Any, Any, dict[str, Any]]:
        async with serving(behaviour, clock) as (base_url, _):
            answers = [await post(base_url) for _ in range(3)]
            refused = await by_sdk(base_url)
            clock.ns += int(refused.response.headers["retry-after-ms"]) * 1_000_000
            async with aiohttp.ClientSession() as session:
                faulty = {"model": "m", "input": "hello", "dimensions": -1}
                async with session.post(f"{base_url}/embeddings", json=faulty) as response:
                    refusal = response.status, response.headers.copy()
                async with session.get(base_url.replace("/v1", "/sandbox/bill")) as response:
                    bill = await response.json()
            return answers, refused, refusal, bill

    answers, refused, (status, headers), bill = asyncio.run(run())
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert [h["x-ratelimit-remaining-requests"] for _, h, _ in answers] == ["1", "0", "0"]
    assert [h["x-ratelimit-remaining-tokens"] for _, h, _ in answers] == ["83", "66", "49"]
    assert isinstance(refused, openai.RateLimitError)
    assert (refused.code, refused.type) == ("rate_limit_exceeded", "requests")
    assert (status, headers["x-ratelimit-limit-requests"]) == (400, "2")
    assert "retry-after" not in headers
    assert bill["outcomes"] == {"200": 2, "429": 2, "400": 1}
    assert bill["limits"]["m"]["requests"] == {"limit": 2, "most_in_a_window": 4, "refused": 2}
    assert (bill["calls"], bill["billed_calls"]) == (5, 2)


def test_outage_is_ordered_while_the_sandbox_runs() -> None:
    """A POST of `/sandbox/faults` breaks what it names and heals it again; the page shows what is in force."""

    async def run() -> tuple[list[int], Any, int]:
        async with serving(Behaviour()) as (base_url, _), aiohttp.ClientSession() as session:
            page, seen = base_url.replace("/v1", "/sandbox/faults"), []
            for order in ({"500": 1.0}, {}):
                async with session.post(page, json={"rates": order, "wire": "openai"}) as response:
                    assert response.status == 200
                seen.append((await post(base_url))[0])
            async with session.get(page) as response:
                shown = await response.json()
            async with session.post(page, json={"rates": {"nonsense": 1}}) as response:
                return seen, shown["faults"], response.status

    seen, shown, refused = asyncio.run(run())
    assert seen == [500, 200]
    assert shown[1:] == [{"wire": "openai", "model": None, "rates": {}}]
    assert refused == 400


def test_faults_do_not_hang_on_concurrency() -> None:
    """60 prompts, one at a time or all at once: the same calls fail in the same way, and as the bill says."""
    behaviour = Behaviour(fault_rates={"500": 0.2, "reset-after": 0.1, "529": 0.1}, seed=5)

    async def one(base_url: str, session: aiohttp.ClientSession, text: str) -> list[str]:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        seen: list[str] = []
        while not seen or seen[-1] != "200":
            try:
                async with session.post(f"{base_url}/chat/completions", json=body) as response:
                    seen.append(str(response.status))
            except (aiohttp.ClientError, OSError):
                seen.append("reset")
        return seen

    async def run(at_once: bool) -> tuple[list[list[str]], Any]:
        async with serving(behaviour) as (base_url, sandbox), aiohttp.ClientSession() as session:
            calls = [one(base_url, session, f"question {n}") for n in range(60)]
            seen = await asyncio.gather(*calls) if at_once else [await call for call in calls]
            return seen, sandbox.bill.statement()

    one_by_one, bill = asyncio.run(run(at_once=False))
    assert asyncio.run(run(at_once=True))[0] == one_by_one
    assert bill["outcomes"] == Counter(outcome for seen in one_by_one for outcome in seen)
    assert set(bill["faults"]) == {"500", "reset-after", "529"}
