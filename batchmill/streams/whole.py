"""Puts the pieces of a streamed answer together: the same answer as if it had come whole."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from batchmill.requests.model import Endpoint

_SAID_ONCE: Final = frozenset({"id", "type", "role", "name", "object", "model", "finish_reason", "call_id"})
"""Texts that come whole, or again and again; every other one is continued by the next piece."""
_OBJECTS: Final[Mapping[Endpoint, str]] = {
    Endpoint.CHAT: "chat.completion",
    Endpoint.COMPLETIONS: "text_completion",
}
_LAST_OF_RESPONSE: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)


class Assembly(Protocol):
    """What has come so far of an answer."""

    @property
    def is_finished(self) -> bool:
        """Whether all of it has come, as far as the pieces tell."""
        ...

    def add(self, piece: Mapping[str, Any]) -> None:
        """Add what an event says."""
        ...

    def whole(self) -> dict[str, Any] | None:
        """The answer; None when there is none yet."""
        ...


def assembly_for(endpoint: Endpoint) -> Assembly:
    """An assembly of nothing yet."""
    return _Response() if endpoint is Endpoint.RESPONSES else _Choices(endpoint)


class _Choices:
    """Chat completions and completions: each choice grows piece by piece, what is beside them is said last."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._object = _OBJECTS[endpoint]
        self._top: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    @property
    def is_finished(self) -> bool:
        return bool(self._choices) and all(
            choice.get("finish_reason") is not None for choice in self._choices.values()
        )

    def add(self, piece: Mapping[str, Any]) -> None:
        for name, value in piece.items():
            if name != "choices" and (value is not None or name not in self._top):
                self._top[name] = value
        choices = piece.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                index = choice.get("index")
                index = index if isinstance(index, int) else 0
                self._choices[index] = _merged(self._choices.get(index, {}), choice)

    def whole(self) -> dict[str, Any] | None:
        if not self._choices:
            return None
        choices = [self._choice(self._choices[index]) for index in sorted(self._choices)]
        top = {name: value for name, value in self._top.items() if name != "obfuscation"}
        return top | {"object": self._object, "choices": choices}

    def _choice(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        whole = {name: value for name, value in choice.items() if name != "delta"}
        if self._object == _OBJECTS[Endpoint.CHAT]:
            whole["message"] = _message(choice.get("delta"))
        return whole


def _message(delta: Any) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    if isinstance(delta, dict):
        message |= delta
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        message["tool_calls"] = [_without_index(call) for call in calls]
        message["content"] = message["content"] or None
    return message


def _without_index(call: Any) -> Any:
    """A call of a tool as it stands in a whole message."""
    if not isinstance(call, dict):
        return call
    return {name: value for name, value in call.items() if name != "index"}


class _Response:
    """The Responses API: its last event holds all of it."""

    def __init__(self) -> None:
        self._whole: dict[str, Any] | None = None

    @property
    def is_finished(self) -> bool:
        return self._whole is not None

    def add(self, piece: Mapping[str, Any]) -> None:
        response = piece.get("response")
        if piece.get("type") in _LAST_OF_RESPONSE and isinstance(response, dict):
            self._whole = response

    def whole(self) -> dict[str, Any] | None:
        return self._whole


def _merged(old: Any, new: Any, name: str = "") -> Any:
    """What a value is once a piece of it has been added."""
    if new is None:
        return old
    if isinstance(new, dict):
        old = old if isinstance(old, dict) else {}
        return {**old, **{key: _merged(old.get(key), value, key) for key, value in new.items()}}
    if isinstance(new, list):
        return _longer(old if isinstance(old, list) else [], new)
    if isinstance(old, str) and isinstance(new, str):
        return (old or new) if name in _SAID_ONCE else old + new
    return new


def _longer(old: list[Any], new: list[Any]) -> list[Any]:
    """Items that have an index are continued; others are added."""
    longer = list(old)
    for item in new:
        index = item.get("index") if isinstance(item, dict) else None
        place = _place(longer, index) if isinstance(index, int) else None
        if place is None:
            longer.append(_merged(None, item))
        else:
            longer[place] = _merged(longer[place], item)
    return longer


def _place(items: list[Any], index: int) -> int | None:
    found = (
        place for place, item in enumerate(items) if isinstance(item, dict) and item.get("index") == index
    )
    return next(found, None)
