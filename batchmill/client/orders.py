"""What a producer may ask of a batch or a text, checked and put into the service's words."""

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict, Unpack

from batchmill.client.asking import asked, with_json
from batchmill.client.faults import unreadable
from batchmill.client.results import text_of
from batchmill.client.steps import Request, Steps
from batchmill.client.views import GeneratedText, generated_of
from batchmill.errors import MisuseError

MANUAL, AUTO = "manual", "auto"
DEFAULT_WINDOW = "24h"

Requests = Iterable[object] | AsyncIterable[object] | str | Path
"""Requests, or the path of a file of them."""


class SubmitOptions(TypedDict, total=False):
    """What can be asked of a batch; each is described at `Client.submit`."""

    priority: str
    budget_usd: Decimal | str | float | None
    on_budget: str | None
    job_name: str
    model: str
    request_type: str
    cache: str
    fallback: Sequence[str]
    user: str
    completion_window: str
    metadata: Mapping[str, str] | None
    webhook_url: str | None
    endpoint: str | None
    system_prompt: str
    prompt: str
    id_column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A batch as its producer wants it.

    Attributes:
        fields: Of `POST /v1/batches`, without those that say nothing.
        endpoint: This and the others go into its lines.
    """

    requests: Requests
    fields: Mapping[str, Any]
    endpoint: str | None
    model: str
    system_prompt: str
    prompt: str
    id_column: str


def order_of(requests: Requests, **options: Unpack[SubmitOptions]) -> Order:
    """An order of these requests with these options.

    Raises:
        MisuseError: Fallbacks are no list.
    """
    fallback = options.get("fallback", ())
    if isinstance(fallback, str):
        raise MisuseError("fallback is a list of models", f"write fallback=[{fallback!r}]")
    budget_usd = options.get("budget_usd")
    said: dict[str, object] = {
        "completion_window": options.get("completion_window", DEFAULT_WINDOW),
        "metadata": dict(options.get("metadata") or {}),
        "priority": options.get("priority"),
        "budget_usd": None if budget_usd is None else str(budget_usd),
        "on_budget": options.get("on_budget"),
        "job_name": options.get("job_name"),
        "request_type": options.get("request_type"),
        "cache": options.get("cache"),
        "fallback": list(fallback),
        "user": options.get("user"),
        "webhook_url": options.get("webhook_url"),
    }
    return Order(
        requests=requests,
        fields={name: value for name, value in said.items() if value},
        endpoint=options.get("endpoint"),
        model=options.get("model", ""),
        system_prompt=options.get("system_prompt", ""),
        prompt=options.get("prompt", ""),
        id_column=options.get("id_column", ""),
    )


def text_body(
    *,
    prompt: str,
    system_prompt: str,
    request_type: str,
    options: Mapping[str, Any] | None,
    selection_mode: str | None,
    provider: str | None,
    model: str | None,
    user: str | None,
) -> dict[str, Any]:
    """The body of `POST /v1/chat/completions` for one prompt.

    Raises:
        MisuseError: Who is to be asked is said twice, or not at all.
    """
    messages = [{"role": "system", "content": system_prompt}] if system_prompt else []
    messages.append({"role": "user", "content": prompt})
    body = {"model": _model(selection_mode, provider, model), "messages": messages, **(options or {})}
    ours = {"request_type": request_type, "user": user or ""} | dict(body.pop("batchmill", {}))
    if said := {name: value for name, value in ours.items() if value}:
        body["batchmill"] = said
    return body


def generated(body: Mapping[str, Any], max_retries: int) -> Steps[GeneratedText]:
    """The answer to one prompt. What may have been answered is not asked again: it may have been paid for."""
    request = Request(method="POST", path="/v1/chat/completions", may_repeat=False, **with_json(body))
    answer = yield from asked(request, max_retries)
    try:
        told = answer.document()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise unreadable(answer)
    return generated_of(told, answer.headers, text_of(told) or "")


def _model(selection_mode: str | None, provider: str | None, model: str | None) -> str:
    mode = selection_mode or (MANUAL if model else AUTO)
    if mode not in (MANUAL, AUTO):
        raise MisuseError(f"there is no selection mode {mode!r}", f"it is {AUTO} or {MANUAL}")
    if mode == AUTO:
        if model or provider:
            raise MisuseError(
                "selection_mode auto chooses provider and model, and one is named as well",
                "name provider and model, or neither",
            )
        return AUTO
    if not model:
        raise MisuseError(
            "nothing says which model to ask", "name it, or leave the choice: selection_mode='auto'"
        )
    return f"{provider}/{model}" if provider else model
