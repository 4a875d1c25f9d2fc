"""A single request that somebody wants to know the price of: which endpoint it is for, and whether it is one."""

from collections.abc import Callable
from typing import Any

from batchmill.errors import InputError, MisuseError
from batchmill.requests.bodies import WITH_SYSTEM_PROMPT, Question, compose
from batchmill.requests.checks import CONTENT, ENDPOINTS, find_faults
from batchmill.requests.jsonl import MAX_DEPTH, is_too_deep
from batchmill.requests.model import Endpoint
from batchmill.tokens.most_output import LIMIT_FIELDS

_ENDPOINT_BY_FIELD = {
    "messages": Endpoint.CHAT,
    "prompt": Endpoint.COMPLETIONS,
    "input": Endpoint.RESPONSES,
}


def compose_request(
    endpoint: Endpoint,
    prompt: str,
    *,
    system_prompt: str = "",
    max_tokens: int | None = None,
    named: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The body of a request with this prompt.

    Args:
        named: What the asker calls these arguments, for the errors.

    Raises:
        MisuseError: The endpoint does not take one of them.
    """
    if system_prompt and endpoint not in WITH_SYSTEM_PROMPT:
        raise MisuseError(f"{named('system_prompt')}: {endpoint} takes none", "leave it out")
    if max_tokens and endpoint not in LIMIT_FIELDS:
        raise MisuseError(f"{named('max_tokens')}: answers of {endpoint} have no length", "leave it out")
    options = {LIMIT_FIELDS[endpoint][0]: max_tokens} if max_tokens else {}
    return compose(endpoint, Question(model="", prompt=prompt, system_prompt=system_prompt, options=options))


def read_request(name: str, document: Any, endpoint: str | None = None) -> tuple[Endpoint, dict[str, Any]]:
    """The endpoint and the body of a request, which may be a line of a batch.

    Args:
        name: What the document is called, for the errors.
        document: As JSON has it.
        endpoint: Where it goes; None = as the document says, or as its fields tell.

    Raises:
        InputError: It is no request.
    """
    body = document
    if not isinstance(body, dict):
        raise InputError(f"{name} is no request: it is not a JSON object", "give one request")
    if is_too_deep(body):
        raise InputError(
            f"{name} is no request: it is nested deeper than {MAX_DEPTH} levels", "give one request"
        )
    if isinstance(body.get("body"), dict):  # a line of a batch
        endpoint, body = endpoint or body.get("url"), body["body"]
    return _endpoint(name, endpoint, body), body


def _endpoint(name: str, given: Any, body: dict[str, Any]) -> Endpoint:
    if given is not None and (not isinstance(given, str) or given not in ENDPOINTS):
        raise InputError(f"{name}: {given!r} is no endpoint", f"endpoints are: {', '.join(ENDPOINTS)}")
    found = ENDPOINTS[given] if given else None
    if found is None:
        found = next((endpoint for field, endpoint in _ENDPOINT_BY_FIELD.items() if field in body), None)
    if found is None or body.get(CONTENT[found][0]) is None:
        missing = "messages, input or prompt" if found is None else CONTENT[found][0]
        raise InputError(f"{name} asks nothing: it has no {missing}", "give the body of a request")
    # Which model it asks is said elsewhere, and it has no name.
    line = {"custom_id": "-", "method": "POST", "url": found.value, "body": body | {"model": "-"}}
    for fault in find_faults(line, found):
        raise InputError(f"{name} is no request: {fault.message}", "correct it first")
    return found
