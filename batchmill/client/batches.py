"""What can be done with batches and files, as steps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from batchmill.client.asking import asked, told, with_json
from batchmill.client.errors import ApiError, NotEndedError, RequestsFailedError, ServiceUnreachableError
from batchmill.client.orders import Order
from batchmill.client.results import Result, in_order, read_result
from batchmill.client.steps import Emit, Flow, Request, Sleep, Steps
from batchmill.client.uploads import Upload
from batchmill.client.views import BatchView, Quote, quote_of
from batchmill.client.waiting import FIRST_POLL_S, POLL_S, accepted
from batchmill.errors import MisuseError

DEFAULT_ENDPOINT = "/v1/chat/completions"
PAGE = 100
RESULTS_PAGE = 500
KEPT_S = 7 * 24 * 3600
"""So long the service keeps an uploaded file; it is read as soon as its batch is made."""


def submitted(order: Order, key: str | None, max_retries: int) -> Steps[dict[str, Any]]:
    """The batch that was made of an order, once for each key however often its making is tried."""
    name = key or uuid4().hex
    body = yield from _uploaded(order, f"{name}-file", max_retries)
    headers = {"idempotency-key": name}
    request = Request(method="POST", path="/v1/batches", **with_json(body, headers))
    try:
        return (yield from told(request, max_retries))
    except ApiError:
        if key is None:  # else another of the same key may have made it, and its file is this one
            yield from _dropped(body["input_file_id"], max_retries)
        raise


def quoted(order: Order, max_retries: int) -> Steps[Quote]:
    """What an order would cost; nothing of it is left behind."""
    body = yield from _uploaded(order, uuid4().hex, max_retries)
    request = Request(method="POST", path="/v1/batches/quote", **with_json(body))
    try:
        found = quote_of((yield from told(request, max_retries)))
    except ApiError:
        yield from _dropped(body["input_file_id"], max_retries)
        raise
    yield from _dropped(body["input_file_id"], max_retries)
    return found


def batch_of(batch_id: str, max_retries: int) -> Steps[dict[str, Any]]:
    """How a batch is now."""
    return told(Request(method="GET", path=_path(batch_id)), max_retries)


def steered(batch_id: str, verb: str, max_retries: int) -> Steps[dict[str, Any]]:
    """A batch after `cancel`, `pause` or `resume`; doing it twice does no more than once."""
    return told(Request(method="POST", path=f"{_path(batch_id)}/{verb}"), max_retries)


def listed(max_retries: int, most: int | None = None) -> Flow[dict[str, Any]]:
    """All batches, newest first, page by page."""
    after, left = None, most
    while left is None or left > 0:
        limit = PAGE if left is None else min(PAGE, left)
        query = {"limit": limit, "after": after}
        page = yield from told(Request(method="GET", path="/v1/batches", query=query), max_retries)
        for batch in page.get("data") or ():
            yield Emit(batch)
            after = batch["id"]
        left = None if left is None else left - limit
        if not page.get("has_more"):
            return


def results_of(raw: dict[str, Any], max_retries: int) -> Flow[Result]:
    """The results of a batch that has ended, in the order of its requests.

    Raises:
        BatchFailedError: It was not accepted.
        NotEndedError: It has not ended.
    """
    view = BatchView(raw)
    if not view.is_ended:
        view = BatchView((yield from batch_of(view.id, max_retries)))
    accepted(view)
    if not view.is_ended:
        counts = view.counts
        raise NotEndedError(
            f"{view.id} is {view.status}: {counts.ended:,} of {counts.total:,} requests have ended",
            "wait() for it first, or take what there is: results(partial=True), or stream()",
        )
    files = [str(view.raw[name]) for name in ("output_file_id", "error_file_id") if view.raw.get(name)]
    if files:
        yield from in_order(files, max_retries)
    elif view.counts.ended:  # a batch of the command line: its results are in the database only
        yield from results_so_far(view.id, max_retries)


def results_so_far(batch_id: str, max_retries: int) -> Flow[Result]:
    """What has ended of a batch by now, roughly in the order in which it has."""
    left = BatchView((yield from batch_of(batch_id, max_retries))).counts.ended
    after: str | None = None
    while left > 0:
        page = yield from _page(batch_id, after, max_retries)
        for line in page.lines[:left]:
            yield Emit(read_result(line))
        left, after = left - len(page.lines), page.after
        if not page.lines or not page.has_more:
            return


def results_as_they_end(batch_id: str, max_retries: int, poll_s: float | None = None) -> Flow[Result]:
    """The same, going on until the batch has ended.

    Raises:
        BatchFailedError: It was not accepted.
    """
    after: str | None = None
    longest = POLL_S if poll_s is None else poll_s
    interval = min(FIRST_POLL_S, longest)
    while True:
        page = yield from _page(batch_id, after, max_retries)
        for line in page.lines:
            yield Emit(read_result(line))
        after = page.after
        if not page.has_more:
            break
        if len(page.lines) == RESULTS_PAGE:
            continue
        interval = min(FIRST_POLL_S, longest) if page.lines else min(longest, interval * 1.5)
        yield Sleep(interval)
    accepted(BatchView((yield from batch_of(batch_id, max_retries))))


def all_answered(raw: dict[str, Any]) -> None:
    """Refuse a batch with requests that have no answer.

    Raises:
        BatchFailedError: It was not accepted.
        NotEndedError: It has not ended.
        RequestsFailedError: Some requests failed, or were not asked before it ended.
    """
    view = BatchView(raw)
    accepted(view)
    counts = view.counts
    if not view.is_ended:
        raise NotEndedError(f"{view.id} is {view.status}", "wait() for it first")
    if counts.completed < counts.total:
        missing = counts.total - counts.completed
        raise RequestsFailedError(
            f"{view.id} is {view.status}: {missing:,} of {counts.total:,} requests have no answer",
            "results() tells of each of them why",
        )


@dataclass(frozen=True, slots=True)
class _Page:
    """Some lines that have ended.

    Attributes:
        after: The cursor behind them.
        has_more: Whether there are more, or will be.
    """

    lines: list[bytes]
    after: str | None
    has_more: bool


def _page(batch_id: str, after: str | None, max_retries: int) -> Steps[_Page]:
    query = {"after": after, "limit": RESULTS_PAGE}
    request = Request(method="GET", path=f"{_path(batch_id)}/results", query=query)
    answer = yield from asked(request, max_retries)
    return _Page(
        [line for line in answer.body.split(b"\n") if line],
        answer.headers.get("x-next-after") or after,
        answer.headers.get("x-has-more") == "true",
    )


def _uploaded(order: Order, key: str, max_retries: int) -> Steps[dict[str, Any]]:
    """Upload the requests of an order; the body of the call that is to follow."""
    from batchmill.client.lines import LineMaker, RequestSource, endpoint_named

    maker = LineMaker(
        endpoint=endpoint_named(order.endpoint), model=order.model, system_prompt=order.system_prompt
    )
    if isinstance(order.requests, str | Path):
        from batchmill.client.files import FileSource

        source: Any = FileSource(Path(order.requests), maker, prompt=order.prompt, id_column=order.id_column)
        name = Path(order.requests).stem
    elif order.prompt or order.id_column:
        raise MisuseError("prompt and id_column are for files", "make the requests as they are to be asked")
    else:
        source, name = RequestSource(requests=order.requests, maker=maker), "requests"
    fields = {
        "purpose": "batch",
        "expires_after[anchor]": "created_at",
        "expires_after[seconds]": str(KEPT_S),
    }
    upload = Upload(source, fields=fields, filename=_filename(name))
    headers = {"content-type": upload.content_type, "idempotency-key": key}
    request = Request(method="POST", path="/v1/files", headers=headers, content=upload)
    file = yield from told(request, max_retries)
    endpoint = (
        maker.endpoint or DEFAULT_ENDPOINT
    )  # which is wrong where no line names one; the service tells each
    return {"input_file_id": file["id"], "endpoint": endpoint, **order.fields}


def _dropped(file_id: str, max_retries: int) -> Steps[None]:
    """Delete a file that nobody needs; if that fails it goes by itself when its time has come."""
    try:
        yield from asked(Request(method="DELETE", path=f"/v1/files/{file_id}"), max_retries)
    except (ApiError, ServiceUnreachableError):
        return


def _path(batch_id: str) -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}"


def _filename(stem: str) -> str:
    """A name that an HTTP header may carry and the service takes for lines of JSON."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "_" for char in stem)
    return f"{plain or 'requests'}.jsonl"
