"""Replaces what is somebody's in texts and documents by placeholders: `[EMAIL_1]`, `[CARD_1]`.

Numbers tell one from another within what belongs together, a conversation: the same address has the same placeholder
wherever it is, so that a text keeps its meaning. Whoever reads two conversations cannot tell whether they speak of the
same person.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from batchmill.pii.library import patterns
from batchmill.pii.model import Kind, Pattern

_PLACEHOLDER: Final = re.compile(rf"\[({'|'.join(Kind)})_([0-9]{{1,9}})\]")
_OUR_OWN: Final = frozenset(
    {"id", "type", "role", "object", "model", "status", "finish_reason", "name", "call_id", "tool_call_id"}
    | {"item_id", "system_fingerprint", "service_tier", "encrypted_content", "data"}
)
"""Members whose text is nobody's."""
_NO_TEXT: Final = frozenset({"logprobs", "embedding"})
"""Members that hold no text in any depth; log probabilities have a rule of their own."""
_JSON_IN_TEXT: Final = "arguments"
_MOST_ROUNDS = 5
_UNREADABLE: Final = (ValueError, TypeError, RecursionError)
"""What is no JSON, or is nested too deeply to be written again: it is redacted as the text it is."""


class Redactor:
    """Redacts the texts of one conversation.

    Args:
        before: All of it as it is: placeholders that are there already keep their numbers.

    Attributes:
        counts: How often something of each kind was replaced.

    Raises:
        SettingsError: The libraries that know the checksums are not installed.
    """

    def __init__(self, before: Iterable[str] = ()) -> None:
        self.counts: Counter[Kind] = Counter()
        self._patterns = patterns()
        self._names: dict[tuple[Kind, str], str] = {}
        self._last: Counter[Kind] = Counter()
        for text in before:
            self._heed(text)

    def text(self, text: str) -> str:
        """The text with placeholders. Once more changes nothing."""
        for _ in range(_MOST_ROUNDS):
            redacted = text
            for pattern in _worth_trying(self._patterns, text):
                redacted = self._replace(pattern, redacted)
            if redacted == text:
                break
            text = redacted  # what has just been replaced may have stood in the way of something beside it
        return text

    def document(self, value: Any, *, keys_too: bool = False) -> Any:
        """A JSON value with placeholders in its texts; what is only structure stays.

        Args:
            keys_too: Also the names of members, which are the producer's own.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.document(item, keys_too=keys_too) for item in value]
        if isinstance(value, dict):
            if keys_too:
                return {self.text(name): self.document(each, keys_too=True) for name, each in value.items()}
            return {name: self._member(name, each) for name, each in value.items()}
        return self._number(value) if keys_too else value

    def _member(self, name: str, value: Any) -> Any:
        if name in _NO_TEXT or (name in _OUR_OWN and isinstance(value, str)):
            return value
        return self._json(value) if name == _JSON_IN_TEXT and isinstance(value, str) else self.document(value)

    def _json(self, text: str) -> str:
        """JSON that stands in a text: it stays JSON."""
        try:
            before = orjson.loads(text)
            after = self.document(before, keys_too=True)
            return text if after == before else orjson.dumps(after).decode()
        except _UNREADABLE:
            return self.text(text)

    def _number(self, value: Any) -> Any:
        """A number that is somebody's as a whole, as a text."""
        if type(value) is not int:
            return value
        redacted = self.text(str(value))
        return value if redacted == str(value) else redacted

    def _replace(self, pattern: Pattern, text: str) -> str:
        pieces, copied, at = [], 0, 0
        while (found := pattern.regex.search(text, at)) is not None:
            start, end = found.span("it" if "it" in pattern.regex.groupindex else 0)
            taken = pattern.take(text[start:end])
            if not taken:
                at = found.start() + 1
                continue
            pieces += [text[copied:start], self._placeholder(pattern.kind, text[start : start + taken])]
            at = copied = start + taken
        return "".join([*pieces, text[copied:]]) if pieces else text

    def _placeholder(self, kind: Kind, value: str) -> str:
        self.counts[kind] += 1
        same = kind, "".join(char for char in value.casefold() if char.isalnum() or char in "@._")
        if same not in self._names:
            self._last[kind] += 1
            self._names[same] = f"[{kind}_{self._last[kind]}]"
        return self._names[same]

    def _heed(self, text: str) -> None:
        if "[" in text:
            for kind, number in _PLACEHOLDER.findall(text):
                self._last[Kind(kind)] = max(self._last[Kind(kind)], int(number))


def _worth_trying(all_patterns: Iterable[Pattern], text: str) -> Iterator[Pattern]:
    """Those patterns that a text may hold something of."""
    gates: dict[re.Pattern[str], bool] = {}
    for pattern in all_patterns:
        if pattern.needs not in text:
            continue
        gate = pattern.gate
        if gate is not None and gate not in gates:
            gates[gate] = gate.search(text) is not None
        if gate is None or gates[gate]:
            yield pattern


def redacted_json(body: bytes) -> bytes:
    """A provider's answer with placeholders in its texts; byte for byte as it was where there is nothing to replace.

    Log probabilities go where something was replaced: they spell the text out.
    """
    redactor = Redactor([body.decode(errors="replace")])
    try:
        after = redactor.document(orjson.loads(body))
        return orjson.dumps(_without_logprobs(after)) if redactor.counts else body
    except _UNREADABLE:
        text = body.decode(errors="replace")
        redacted = redactor.text(text)
        return body if redacted == text else redacted.encode()


def _without_logprobs(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_logprobs(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: None if name == "logprobs" else _without_logprobs(each) for name, each in value.items()}
