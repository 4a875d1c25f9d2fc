"""What a parsed line must hold to be a request: each check knows one field and says what is wrong with it.

The codes are those of OpenAI's batch validation, so that clients written for it understand ours. Only the
fields batchmill itself relies on are checked; every other one passes through and is the provider's to judge.
"""

from typing import Any, NamedTuple

from batchmill.requests.model import Endpoint

MAX_CUSTOM_ID_LENGTH = 512
SHOWN_LENGTH = 80

ENDPOINTS = {endpoint.value: endpoint for endpoint in Endpoint}
SUPPORTED_URLS = ", ".join(f"'{url}'" for url in ENDPOINTS)

# Where each endpoint's content is, the types it may have, and their names in a message.
CONTENT: dict[Endpoint, tuple[str, tuple[type, ...], str]] = {
    Endpoint.CHAT: ("messages", (list,), "an array"),
    Endpoint.RESPONSES: ("input", (str, list), "a string or an array"),
    Endpoint.EMBEDDINGS: ("input", (str, list), "a string or an array"),
    Endpoint.COMPLETIONS: ("prompt", (str, list), "a string or an array"),
    Endpoint.MODERATIONS: ("input", (str, list), "a string or an array"),
}
JSON_TYPES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


class Fault(NamedTuple):
    """One thing wrong with a line: OpenAI's code, a sentence for people, the field at fault if it is one."""

    code: str
    message: str
    param: str | None = None


def find_faults(request: dict[str, Any], endpoint: Endpoint | None) -> list[Fault]:
    """Everything wrong with a parsed line; an empty list means it is a valid request.

    Args:
        endpoint: The batch's endpoint, which every url has to match; None while nothing has set it.
    """
    if endpoint is not None and _is_sound(request, endpoint):
        return []
    url = request.get("url")
    found = [_custom_id_fault(request), _method_fault(request), _url_fault(request, endpoint)]
    body = request.get("body")
    if type(body) is dict:
        found += [_model_fault(body), _stream_fault(body)]
        if isinstance(url, str) and url in ENDPOINTS:
            found.append(_content_fault(body, ENDPOINTS[url]))
    elif "body" not in request:
        found.append(missing("body"))
    else:
        found.append(wrong_type("body", "an object", body))
    return [fault for fault in found if fault is not None]


def name_fault(param: str, value: object) -> Fault | None:
    """What is wrong with a name of the producer's: of a line, a model, a type."""
    if not isinstance(value, str):
        return wrong_type(param, "a string", value)
    if 0 < len(value) <= MAX_CUSTOM_ID_LENGTH and "\0" not in value:
        return None
    if not value:
        problem = "is empty"
    elif "\0" in value:
        problem = "holds a NUL character"
    else:
        problem = f"has {len(value):,} characters, at most {MAX_CUSTOM_ID_LENGTH} are allowed"
    return Fault("invalid_value", f"Invalid value: '{param}' {problem}.", param)


def _is_sound(request: dict[str, Any], endpoint: Endpoint) -> bool:
    """Tell at a glance that nothing is wrong, which is so of most lines; False only says to look more closely."""
    custom_id, body = request.get("custom_id"), request.get("body")
    if type(custom_id) is not str or type(body) is not dict or request.get("url") != endpoint:
        return False
    model, (field, types, _) = body.get("model"), CONTENT[endpoint]
    content = body.get(field)
    return (
        request.get("method") == "POST"
        and 0 < len(custom_id) <= MAX_CUSTOM_ID_LENGTH
        and type(model) is str
        and model != ""
        and "\0" not in custom_id
        and "\0" not in model
        and "stream" not in body
        and type(content) in types
        and bool(content)
    )


def json_type(value: object) -> str:
    """What JSON calls the type of a parsed value, with its article."""
    return JSON_TYPES[type(value)]


def _custom_id_fault(request: dict[str, Any]) -> Fault | None:
    if "custom_id" not in request:
        return missing("custom_id")
    return name_fault("custom_id", request["custom_id"])


def _method_fault(request: dict[str, Any]) -> Fault | None:
    method = request.get("method")
    if method == "POST":
        return None
    if not isinstance(method, str):
        return _no_string("method", request)
    return Fault("invalid_value", f"Invalid value: {shown(method)}. Supported values are: 'POST'.", "method")


def _url_fault(request: dict[str, Any], endpoint: Endpoint | None) -> Fault | None:
    url = request.get("url")
    if not isinstance(url, str):
        return _no_string("url", request)
    if url not in ENDPOINTS:
        message = f"The URL {shown(url)} is not supported. Supported values are: {SUPPORTED_URLS}."
        return Fault("invalid_url", message, "url")
    if endpoint is not None and url != endpoint:
        message = "The URL provided for this request does not match the batch endpoint."
        return Fault("invalid_url", f"{message} It is '{url}', the batch's is '{endpoint}'.", "url")
    return None


def _model_fault(body: dict[str, Any]) -> Fault | None:
    model = body.get("model")
    if model is None or model == "":
        return Fault("invalid_request", "Model parameter is required.", "body.model")
    if not isinstance(model, str):
        return wrong_type("body.model", "a string", model)
    if "\0" in model:
        return Fault("invalid_value", "Invalid value: 'body.model' holds a NUL character.", "body.model")
    return None


def _stream_fault(body: dict[str, Any]) -> Fault | None:
    stream = body.get("stream")
    if stream is None or stream is False:
        return None
    if stream is True:
        return Fault("streaming_unsupported", "Streaming is not supported in a batch.", "body.stream")
    return wrong_type("body.stream", "a boolean", stream)


def _content_fault(body: dict[str, Any], endpoint: Endpoint) -> Fault | None:
    field, types, expected = CONTENT[endpoint]
    content = body.get(field)
    if content is None:
        if endpoint is Endpoint.RESPONSES and body.get("prompt") is not None:  # a stored prompt, by its id
            return None
        return Fault("invalid_request", f"{field.capitalize()} parameter is required.", f"body.{field}")
    if not isinstance(content, types):
        return wrong_type(f"body.{field}", expected, content)
    if content == []:
        return Fault("invalid_request", f"Invalid value: 'body.{field}' is empty.", f"body.{field}")
    return None


def _no_string(param: str, request: dict[str, Any]) -> Fault:
    return wrong_type(param, "a string", request[param]) if param in request else missing(param)


def missing(param: str) -> Fault:
    """A field that has to be there."""
    return Fault("missing_required_parameter", f"Missing required parameter: '{param}'.", param)


def wrong_type(param: str, expected: str, value: object) -> Fault:
    """A field of another type; `expected` has its article."""
    message = f"Invalid type for '{param}': expected {expected}, but got {json_type(value)} instead."
    return Fault("invalid_type", message, param)


def shown(value: str) -> str:
    """A word of the producer's in a message: quoted, and not too long."""
    return repr(value if len(value) <= SHOWN_LENGTH else value[:SHOWN_LENGTH] + "…")
