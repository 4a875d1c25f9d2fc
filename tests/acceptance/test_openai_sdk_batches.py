"""OpenAI's client for Python and our batches: made, watched, listed, steered, and what comes of them."""

import asyncio
import time
from pathlib import Path

import pytest
from openai import APIStatusError, AsyncOpenAI
from openai.types import Batch

from tests.support.mill import chat_line, read_lines, write_lines
from tests.support.openai_service import CHAT, ENDED, HUNG, Hosted


def questions(number: int, **body: object) -> list[str]:
    """Lines that nobody has asked before."""
    tag = time.monotonic_ns()
    return [chat_line(f"r{n}", f"question {tag} {n}", **body) for n in range(number)]


def counts(batch: Batch) -> tuple[int, int, int]:
    """Completed, failed, total."""
    told = batch.request_counts
    assert told is not None
    return told.completed, told.failed, told.total


def test_a_batch_from_upload_to_answers(service: Hosted, tmp_path: Path) -> None:
    """Every line is answered, in input order; the times, the counts, the usage and our own fields agree with them,
    and with what the command line writes of the same batch."""
    made = service.submit(
        questions(5),
        metadata={"team": "blue", "run": "7"},
        output_expires_after={"anchor": "created_at", "seconds": 3600},
        extra_body={"priority": "high", "job_name": "nightly", "budget_usd": "2.50", "cache": "off"},
    )
    assert made.status == "validating"
    batch = service.awaited(made)
    assert (batch.status, counts(batch), batch.metadata) == ("completed", (5, 0, 5), made.metadata)
    assert batch.metadata == {"team": "blue", "run": "7"}
    assert (batch.endpoint, batch.completion_window, batch.model) == (CHAT, "24h", "gpt-4o-mini")
    assert (batch.errors, batch.error_file_id, batch.cancelled_at) == (None, None, None)
    moments = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert None not in moments
    assert moments == sorted(moments)
    assert batch.expires_at == batch.created_at + 86_400
    file = service.client.files.retrieve(batch.output_file_id or "")
    assert (file.purpose, file.expires_at) == ("batch_output", file.created_at + 3600)

    lines = service.lines(batch.output_file_id)
    assert [line["custom_id"] for line in lines] == [f"r{n}" for n in range(5)]
    assert len({line["id"] for line in lines}) == 5
    for line in lines:
        assert set(line) == {"id", "custom_id", "response", "error"}
        assert set(line["response"]) == {"status_code", "request_id", "body"}
        assert (line["error"], line["response"]["status_code"]) == (None, 200)
    path = tmp_path / "answers.jsonl"
    assert service.mill("results", batch.id, "-o", path).returncode == 0
    assert read_lines(path) == lines

    told = [line["response"]["body"]["usage"] for line in lines]
    assert batch.usage is not None
    assert batch.usage.input_tokens == sum(usage["prompt_tokens"] for usage in told)
    assert batch.usage.output_tokens == sum(usage["completion_tokens"] for usage in told)
    assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens
    assert batch.usage.input_tokens_details.cached_tokens == 0
    assert batch.usage.output_tokens_details.reasoning_tokens == 0
    ours = batch.model_extra or {}
    assert float(ours["cost_usd"]) > 0
    wanted = {"priority": "high", "job_name": "nightly", "progress": 1.0, "calls": 5, "cached": 0}
    assert {name: ours[name] for name in wanted} == wanted


def test_pages_of_batches(service: Hosted) -> None:
    """Over several pages every batch comes once, newest first; one of the command line is among them."""
    made = [service.submit(questions(1)).id for _ in range(5)]
    done = service.mill("submit", write_lines(service.mill.folder / "cli.jsonl", questions(1)))
    assert done.returncode == 0, done.stderr
    listed = list(service.client.batches.list(limit=2))
    ids = [batch.id for batch in listed]
    assert listed[0].input_file_id is None
    assert listed[0].id in done.stdout
    assert ids[1:6] == made[::-1]
    assert len(ids) == len(set(ids))
    page = service.client.batches.list(limit=2, after=ids[0])
    assert (page.has_more, [batch.id for batch in page.data]) == (True, ids[1:3])
    assert not service.client.batches.list(after=ids[-1]).data
    assert counts(service.awaited(listed[0])) == (1, 0, 1)


def test_several_models_in_one_batch(service: Hosted) -> None:
    """Lines for several models are answered by those; the batch names none."""
    models = ["gpt-4o-mini", "gpt-4o", "gpt-4.1-nano"]
    lines = [chat_line(model, f"{time.monotonic_ns()}", model=model) for model in models]
    batch = service.awaited(service.submit(lines))
    assert (batch.status, batch.model) == ("completed", None)
    answered = service.lines(batch.output_file_id)
    assert [line["response"]["body"]["model"] for line in answered] == models


def test_all_lines_fail(service: Hosted) -> None:
    """The batch is completed all the same: without an output file, with an error file of the provider's own errors."""
    batch = service.awaited(service.submit(questions(4, model="sandbox/400")))
    assert (batch.status, counts(batch)) == ("completed", (0, 4, 4))
    assert batch.output_file_id is None
    failed = service.lines(batch.error_file_id)
    assert [line["custom_id"] for line in failed] == ["r0", "r1", "r2", "r3"]
    for line in failed:
        assert (line["error"], line["response"]["status_code"]) == (None, 400)
        assert set(line["response"]["body"]["error"]) == {"message", "type", "param", "code"}


def test_cancelled_while_running(service: Hosted) -> None:
    """What was answered is in the output file, the rest in the error file; no new call is made; and a second cancel
    does no harm, before the end and after it."""
    running = service.stuck(answered=3)
    assert running.status == "in_progress"
    cancelling = service.client.batches.cancel(running.id)
    assert cancelling.status in ("cancelling", "finalizing", "cancelled")
    assert cancelling.cancelling_at is not None
    assert service.client.batches.cancel(running.id).id == running.id
    calls = len(service.witness.calls())
    batch = service.awaited(cancelling)
    assert (batch.status, counts(batch)) == ("cancelled", (3, HUNG + 2, HUNG + 5))
    assert batch.cancelled_at is not None
    assert (batch.completed_at, batch.expired_at) == (None, None)
    assert [line["custom_id"] for line in service.lines(batch.output_file_id)] == [
        "fast 0",
        "fast 1",
        "fast 2",
    ]
    rest = service.lines(batch.error_file_id)
    assert [line["custom_id"] for line in rest] == [f"hung {n}" for n in range(HUNG + 2)]
    assert {(line["response"], line["error"]["code"]) for line in rest} == {(None, "batch_cancelled")}
    assert len(service.witness.calls()) == calls
    assert service.client.batches.cancel(batch.id) == batch


def test_cancelled_while_validating(service: Hosted) -> None:
    """It ends without a line taken in, a call or a file."""
    with service.up.clerks_away():
        made = service.submit(questions(3))
        assert service.client.batches.cancel(made.id).status == "cancelling"
    batch = service.awaited(made)
    assert (batch.status, counts(batch)) == ("cancelled", (0, 0, 0))
    assert (batch.output_file_id, batch.error_file_id, batch.in_progress_at) == (None, None, None)


def test_a_batch_expires(service: Hosted) -> None:
    """When its window is over, what was answered is in the output file and the rest in the error file."""
    running = service.stuck(answered=2)
    service.mill.execute(f"UPDATE batches SET deadline_ms = created_ms + 1 WHERE public_id = '{running.id}'")
    batch = service.awaited(running)
    assert (batch.status, counts(batch)) == ("expired", (2, HUNG + 2, HUNG + 4))
    assert batch.expired_at is not None
    assert [line["custom_id"] for line in service.lines(batch.output_file_id)] == ["fast 0", "fast 1"]
    rest = service.lines(batch.error_file_id)
    assert len(rest) == HUNG + 2
    assert {(line["response"], line["error"]["code"]) for line in rest} == {(None, "batch_expired")}


def test_paused_and_resumed(service: Hosted) -> None:
    """OpenAI's clients see a paused batch in progress, with our reason beside; no call is made until it is resumed."""
    running = service.stuck(answered=1)
    paused = service.client.post(f"/batches/{running.id}/pause", cast_to=Batch)
    assert (paused.status, bool((paused.model_extra or {})["paused_reason"])) == ("in_progress", True)
    resumed = service.client.post(f"/batches/{running.id}/resume", cast_to=Batch)
    assert (resumed.status, (resumed.model_extra or {})["paused_reason"]) == ("in_progress", None)
    service.client.batches.cancel(running.id)
    assert service.awaited(running).status == "cancelled"


def test_a_batch_sent_twice_is_one_batch(service: Hosted) -> None:
    """With the same Idempotency-Key the first batch is told again; another batch under it is refused."""
    key = {"Idempotency-Key": f"batch-{time.monotonic_ns()}"}
    made = service.submit(questions(1), extra_headers=key)
    again = {"input_file_id": made.input_file_id or "", "endpoint": CHAT, "completion_window": "24h"}
    assert service.client.batches.create(**again, extra_headers=key).id == made.id
    with pytest.raises(APIStatusError, match="Idempotency-Key"):
        service.client.batches.create(**again, metadata={"another": "one"}, extra_headers=key)
    assert service.client.batches.create(**again).id != made.id


def test_a_window_that_is_left_out_is_a_day(service: Hosted) -> None:
    """Who does not say how long a batch may take gives it 24 hours."""
    file = service.submit(questions(1)).input_file_id
    made = service.client.post("/batches", body={"input_file_id": file, "endpoint": CHAT}, cast_to=Batch)
    assert (made.completion_window, made.expires_at) == ("24h", made.created_at + 86_400)


def test_the_asynchronous_client(service: Hosted) -> None:
    """The same from upload to answers, pages included."""

    async def story() -> tuple[Batch, str, list[str], list[str]]:
        async with AsyncOpenAI(base_url=service.base_url, api_key="any") as client:
            content = "\n".join(questions(3)).encode()
            file = await client.files.create(file=("async.jsonl", content), purpose="batch")
            await client.files.wait_for_processing(file.id)
            made = [
                await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
                for _ in range(3)
            ]
            batch = made[0]
            while batch.status not in ENDED:
                await asyncio.sleep(0.05)
                batch = await client.batches.retrieve(batch.id)
            answers = await client.files.content(batch.output_file_id or "")
            async with client.files.with_streaming_response.content(file.id) as response:
                assert b"".join([chunk async for chunk in response.iter_bytes()]) == content
            listed = [each.id async for each in client.batches.list(limit=2)]
            files = [each.id async for each in client.files.list(limit=2)]
            assert file.id in files
            assert (await client.files.delete(file.id)).deleted
            return batch, answers.text, listed, [each.id for each in made]

    batch, answers, listed, made = asyncio.run(asyncio.wait_for(story(), 60))
    assert (batch.status, counts(batch), answers.count("\n")) == ("completed", (3, 0, 3), 3)
    assert listed[:3] == made[::-1]
    assert len(listed) == len(set(listed))
