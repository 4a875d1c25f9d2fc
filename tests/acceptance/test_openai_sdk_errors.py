"""OpenAI's client for Python and what we refuse: typed, in OpenAI's words, told by an id, never asked again in vain."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai import (
    APIStatusError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    OpenAI,
)

from tests.support.mill import chat_line
from tests.support.openai_service import CHAT, Hosted, counting

Ask = Callable[[OpenAI, str], Any]
REQUEST = r"req_[0-9a-f]{24}"
MADE = {"endpoint": CHAT, "completion_window": "24h"}


def uploaded(client: OpenAI, *, name: str = "in.jsonl", content: bytes = b"") -> Any:
    """A file, or its refusal."""
    return client.files.create(file=(name, content), purpose="batch")


def batch_of(client: OpenAI, file: str, **changes: Any) -> Any:
    """A batch as it is asked for, whatever the client would say to that; None takes a field out."""
    body = {"input_file_id": file} | MADE | changes
    wanted = {name: value for name, value in body.items() if value is not None}
    return client.post("/batches", body=wanted, cast_to=object)


REFUSALS: list[tuple[str, Ask, type[APIStatusError], str | None, str | None, str]] = [
    (
        "unknown endpoint",
        lambda client, file: batch_of(client, file, endpoint="/v1/x"),
        *(BadRequestError, "invalid_value", "endpoint"),
        "Invalid value: '/v1/x'. Supported values are: '/v1/chat/completions', ",
    ),
    *(
        (
            f"no {name}",
            lambda client, file, name=name: batch_of(client, file, **{name: None}),
            *(BadRequestError, "missing_required_parameter", name),
            f"Missing required parameter: '{name}'.",
        )
        for name in ("input_file_id", "endpoint")
    ),
    (
        "metadata that is no text",
        lambda client, file: batch_of(client, file, metadata={"tags": ["a"]}),
        *(BadRequestError, "invalid_type", "metadata.tags"),
        "Invalid type for 'metadata.tags': expected a valid string, but got an array instead.",
    ),
    (
        "metadata of 17 keys",
        lambda client, file: batch_of(client, file, metadata={f"k{n}": "v" for n in range(17)}),
        *(BadRequestError, "invalid_value", "metadata"),
        "",
    ),
    (
        "a key of metadata of 65 characters",
        lambda client, file: batch_of(client, file, metadata={"k" * 65: "v"}),
        *(BadRequestError, "invalid_value", f"metadata.{'k' * 65}"),
        "",
    ),
    (
        "a value of metadata of 513 characters",
        lambda client, file: batch_of(client, file, metadata={"k": "v" * 513}),
        *(BadRequestError, "invalid_value", "metadata.k"),
        "",
    ),
    (
        "window that is too short",
        lambda client, file: batch_of(client, file, completion_window="30m"),
        *(BadRequestError, "invalid_value", "completion_window"),
        "",
    ),
    (
        "output that expires too soon",
        lambda client, file: batch_of(
            client, file, output_expires_after={"anchor": "created_at", "seconds": 3599}
        ),
        *(BadRequestError, "invalid_value", "output_expires_after.seconds"),
        "",
    ),
    (
        "unknown parameter",
        lambda client, file: batch_of(client, file, prioritty="high"),
        *(BadRequestError, "unknown_parameter", "prioritty"),
        "Unknown parameter: 'prioritty'.",
    ),
    *(
        (
            what,
            lambda client, _, name=name, content=content: uploaded(client, name=name, content=content),
            *(BadRequestError, "invalid_file_format", "file"),
            "Invalid file format for Batch API. Must be .jsonl",
        )
        for what, name, content in [
            ("upload of another kind", "in.csv", chat_line("r1", "one").encode()),
            ("upload that is empty", "in.jsonl", b""),
            ("upload without JSON", "in.jsonl", b"id,prompt\n1,one\n"),
        ]
    ),
    (
        "upload for an unknown purpose",
        lambda client, _: client.files.create(file=("in.jsonl", b"{}"), purpose="nonsense"),  # type: ignore[arg-type]
        *(BadRequestError, "invalid_value", "purpose"),
        "Invalid value: 'nonsense'. Supported values are: 'batch', ",
    ),
    (
        "batch of an unknown file",
        lambda client, _: batch_of(client, "file-nowhere"),
        *(NotFoundError, "not_found", None),
        "No such File object: file-nowhere",
    ),
    *(
        (
            f"{what} an unknown batch",
            lambda client, _, ask=ask: ask(client),
            *(NotFoundError, "not_found", None),
            "No batch found with id 'batch_nowhere'.",
        )
        for what, ask in {
            "retrieve": lambda client: client.batches.retrieve("batch_nowhere"),
            "cancel": lambda client: client.batches.cancel("batch_nowhere"),
            "list behind": lambda client: client.batches.list(after="batch_nowhere"),
        }.items()
    ),
    *(
        (
            f"{what} an unknown file",
            lambda client, _, ask=ask: ask(client),
            *(NotFoundError, "not_found", None),
            "No such File object: file-nowhere",
        )
        for what, ask in {
            "retrieve": lambda client: client.files.retrieve("file-nowhere"),
            "read": lambda client: client.files.content("file-nowhere"),
            "delete": lambda client: client.files.delete("file-nowhere"),
            "list behind": lambda client: client.files.list(after="file-nowhere"),
        }.items()
    ),
    (
        "range outside of a file",
        lambda client, file: client.files.content(file, extra_headers={"Range": "bytes=9999-"}),
        *(APIStatusError, "range_not_satisfiable", "range"),
        "",
    ),
]


@pytest.mark.parametrize(
    ("ask", "kind", "code", "param", "words"),
    [refusal[1:] for refusal in REFUSALS],
    ids=[refusal[0] for refusal in REFUSALS],
)
def test_refusals(
    service: Hosted, ask: Ask, kind: type[APIStatusError], code: str | None, param: str | None, words: str
) -> None:
    """Each is raised as the class that OpenAI's client has for it, with code, parameter, words and the request's id;
    and is asked once."""
    file = uploaded(service.client, content=chat_line("r1", "one").encode())
    with counting(service.base_url) as (client, sent), pytest.raises(kind) as caught:
        ask(client, file.id)
    error = caught.value
    assert (error.code, error.param, error.type) == (code, param, "invalid_request_error")
    assert isinstance(error.body, dict)
    assert error.body["message"].startswith(words)
    assert error.body["message"]
    assert error.request_id is not None
    assert error.request_id.startswith("req_")
    assert len(error.request_id) == 28
    assert len(sent) == 1


def test_what_has_ended_cannot_be_cancelled(service: Hosted) -> None:
    """Completed or failed, it says so, and the client, which tries conflicts again, is told not to."""
    completed = service.awaited(service.submit([chat_line("r1", "one")]))
    failed = service.awaited(service.submit(['{"custom_id": "r1"}']))
    for batch, status in ((completed, "completed"), (failed, "failed")):
        with counting(service.base_url) as (client, sent), pytest.raises(ConflictError) as caught:
            client.batches.cancel(batch.id)
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["message"] == f"Cannot cancel a batch with status '{status}'."
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert sent == [f"POST /v1/batches/{batch.id}/cancel"]


def bad(number: int, body: dict[str, Any] | None = None, **changes: Any) -> str:
    """A good line with something wrong; None takes a field out."""
    line = json.loads(chat_line(f"r{number}", "one")) | changes
    line["body"] = {name: value for name, value in (line["body"] | (body or {})).items() if value is not None}
    return json.dumps({name: value for name, value in line.items() if value is not None})


def without_body(number: int) -> str:
    """A line that asks nothing."""
    return json.dumps({"custom_id": f"r{number}", "method": "POST", "url": CHAT})


BAD_LINES: list[tuple[str, str, str | None, str]] = [
    ("{", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    (bad(3, custom_id=None), "missing_required_parameter", "custom_id", "Missing required parameter: 'custom_id'."),
    (bad(4, method=None), "missing_required_parameter", "method", "Missing required parameter: 'method'."),
    (bad(5, url=None), "missing_required_parameter", "url", "Missing required parameter: 'url'."),
    (without_body(6), "missing_required_parameter", "body", "Missing required parameter: 'body'."),
    (bad(7, {"input": "one", "messages": None}, url="/v1/embeddings"), "invalid_url", "url",
     "The URL provided for this request does not match the batch endpoint."),
    (bad(8, {"stream": True}), "streaming_unsupported", "body.stream", ""),
    (bad(9, {"model": None}), "invalid_request", "body.model", "Model parameter is required."),
    (bad(10, {"messages": None}), "invalid_request", "body.messages", ""),
    (bad(0), "duplicate_custom_id", "custom_id", ""),
]  # fmt: skip


def test_every_bad_line_is_told(service: Hosted) -> None:
    """A batch with bad lines fails, with each of them by its number, code, parameter and OpenAI's words; nothing of it
    is called."""
    calls = len(service.witness.calls())
    batch = service.awaited(service.submit([chat_line("r0", "one"), *(line for line, *_ in BAD_LINES)]))
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.errors is not None
    told = batch.errors.data or []
    for number, ((_, code, param, words), error) in enumerate(zip(BAD_LINES, told, strict=True), start=2):
        assert (error.line, error.code, error.param) == (number, code, param)
        assert (error.message or "").startswith(words)
    assert (batch.output_file_id, batch.error_file_id, batch.in_progress_at) == (None, None, None)
    assert batch.request_counts is not None
    assert batch.request_counts.total == 0
    assert len(service.witness.calls()) == calls


def test_an_unknown_model_is_told_by_its_provider(service: Hosted) -> None:
    """Which models there are is not ours to say: the line goes out, and fails with its provider's `model_not_found`."""
    batch = service.awaited(service.submit([chat_line("r1", "one", model="sandbox/404")]))
    (line,) = service.lines(batch.error_file_id)
    assert (line["error"], line["response"]["status_code"]) == (None, 404)
    assert line["response"]["body"]["error"]["code"] == "model_not_found"


def test_the_input_file_is_gone_before_it_is_read(service: Hosted) -> None:
    """A batch whose file was deleted fails and says so, of the file and not of a line."""
    with service.up.clerks_away():
        made = service.submit([chat_line("r1", "one")])
        service.client.files.delete(made.input_file_id or "")
    batch = service.awaited(made)
    assert batch.status == "failed"
    assert batch.errors is not None
    (error,) = batch.errors.data or []
    assert (error.code, error.param, error.line) == ("invalid_request", "file_id", None)
    assert (error.message or "").startswith("Cannot find file")
