"""The reference page of the providers, from their tables: how each is called, what fields become, what errors mean."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import orjson

from batchmill.providers import openai, openrouter, signals
from batchmill.providers.anthropic import wire as anthropic
from batchmill.providers.base import Call, Verdict
from batchmill.providers.fields import Field, Support
from batchmill.providers.gemini import legacy_words
from batchmill.providers.gemini import wire as gemini
from batchmill.providers.openai_fields import AS_IT_IS, CHAT, EMBEDDINGS
from batchmill.providers.signals import ErrorObject, Meanings
from batchmill.providers.wire import UntranslatableError, Wire
from batchmill.requests.model import Endpoint

_BASE: Final = "https://base"
_KEY: Final = "KEY"


class _Provider(NamedTuple):
    """A provider as the page has it.

    Attributes:
        address: The variable of its base address.
        wire: Its wire, at a base without a path.
    """

    name: str
    address: str
    wire: Wire
    chat: Mapping[str, Field]
    embeddings: Mapping[str, Field]


_PROVIDERS: Final = (
    _Provider(
        "openai",
        "OPENAI_BASE_URL",
        openai.OpenAIWire(name="openai", base_url=_BASE, api_keys=[_KEY]),
        openai.CHAT_FIELDS,
        openai.EMBEDDING_FIELDS,
    ),
    _Provider(
        "local",
        "LOCAL_BASE_URL",
        openai.OpenAIWire(name="local", base_url=_BASE, api_keys=[_KEY]),
        openai.CHAT_FIELDS,
        openai.EMBEDDING_FIELDS,
    ),
    _Provider(
        "openrouter",
        "OPENROUTER_BASE_URL",
        openrouter.OpenRouterWire(base_url=_BASE, api_keys=[_KEY]),
        openrouter.CHAT_FIELDS,
        openrouter.EMBEDDING_FIELDS,
    ),
    _Provider(
        "anthropic",
        "ANTHROPIC_BASE_URL",
        anthropic.AnthropicWire(base_url=_BASE, api_keys=[_KEY]),
        anthropic.CHAT_FIELDS,
        anthropic.EMBEDDING_FIELDS,
    ),
    _Provider(
        "gemini",
        "GOOGLE_GEMINI_BASE_URL",
        gemini.GeminiWire(base_url=_BASE, api_keys=[_KEY]),
        gemini.CHAT_FIELDS,
        gemini.EMBEDDING_FIELDS,
    ),
)

_OUTCOMES: Final[Mapping[Verdict, tuple[str, str]]] = {
    Verdict.REFUSED: (
        "fails",
        "The request's own fault: the same would be refused again. The line fails; if only the model is not"
        " there, the next of its models is asked.",
    ),
    Verdict.THROTTLED: (
        "waits",
        "Too fast: the same is welcome later. The line waits as long as the provider asks for, which is no try;"
        " where that is more than 30 s, the next of its models is asked.",
    ),
    Verdict.RETRY: (
        "again",
        "A passing fault that is not billed. Tried again, later each time, up to `BATCHMILL_MAX_TRIES`; after two"
        " such the next of its models is asked.",
    ),
    Verdict.BLOCKED: (
        "account",
        "The account's fault: no such key, no credit, no permission. The key rests and another of the provider's"
        " takes over; else the next of the line's models is asked; where there is none, the batch is paused.",
    ),
    Verdict.UNKNOWN: (
        "unknown",
        "Sent, and perhaps billed. Its cost is not known, and budgets count it at the most that it could be until it"
        " is [reconciled](../how-to/reconcile.md). Tried again or not as `--on-unknown` says.",
    ),
}
_STATUSES: Final[Mapping[str, int]] = {
    "3xx": 307,
    **{
        str(status): status
        for status in (
            *(400, 401, 402, 403, 404, 408, 409, 413, 422, 425, 429, 499),
            *(500, 501, 502, 503, 504, 505, 524, 529),
        )
    },
    "other 4xx": 418,
    "other 5xx": 599,
}
_SUPPORT: Final[Mapping[Support, str]] = {
    Support.MAPPED: "mapped. ",
    Support.ERROR: "**error**: ",
    Support.NOT_APPLICABLE: "*not applicable*. ",
}
_OF_ANSWERS: Final = ("finish_reason", "message.", "usage")


def providers_page() -> str:
    """How each provider is called, what becomes of every field, and what errors mean."""
    return "\n\n".join((*_addresses(), *_fields(), *_errors())) + "\n"


# how each is called


def _addresses() -> Iterator[str]:
    yield "# Providers"
    yield (
        "Made from the code by `python docs/make_reference.py`. How to set them up:"
        " [keys, limits, health](../how-to/providers.md)."
    )
    yield (
        "Requests and answers are in OpenAI's shapes, whoever answers. OpenAI, OpenRouter and servers of your own get"
        " them byte for byte; for Anthropic and Gemini they are translated. What cannot be said there is an error"
        " that names the field: nothing is dropped in silence."
    )
    yield "## How each is called"
    rows = ["| provider | base address | key | asked for its health |", "|---|---|---|---|"]
    rows += [
        f"| `{each.name}` | `{each.address}` | {_key(each)} | {_request(each.wire.probe(0))} |"
        for each in _PROVIDERS
    ]
    yield "\n".join(rows)
    yield "Behind the base address:"
    rows = [
        f"| endpoint | {' | '.join(f'`{each.name}`' for each in _PROVIDERS)} |",
        _line(1 + len(_PROVIDERS)),
    ]
    for endpoint in Endpoint:
        rows.append(f"| `{endpoint}` | {' | '.join(_served(each, endpoint) for each in _PROVIDERS)} |")
    yield "\n".join(rows)
    yield (
        "Every call bears `X-Client-Request-Id`, whichever way it goes. `openrouter` is asked for the cost of each"
        " answer (`usage.include`), which then counts. `gemini` can be called with Google's packages instead, see"
        " `BATCHMILL_GEMINI_TRANSPORT` in [Settings](settings.md#gemini): answers, usage and errors mean the same."
    )


def _key(provider: _Provider) -> str:
    """The headers that say who calls, and in which version."""
    lines = provider.wire.probe(0).decode().split("\r\n")
    told = [line for line in lines if _KEY in line or "version" in line.lower()]
    return ", ".join(f"`{line}`" for line in told)


def _served(provider: _Provider, endpoint: Endpoint) -> str:
    field = "input" if endpoint is Endpoint.EMBEDDINGS else "messages"
    body = {"model": "MODEL", field: "?" if field == "input" else [{"role": "user", "content": "?"}]}
    call = Call(
        endpoint=endpoint, model="MODEL", body=orjson.dumps(body), client_request_id="r/1", timeout_s=1.0
    )
    try:
        return _request(provider.wire.write(call))
    except UntranslatableError:
        return "**error**"


def _request(raw: bytes) -> str:
    """Method and path of a whole request."""
    method, path, _ = raw.split(b"\r\n", 1)[0].decode().split(" ")
    return f"`{path}`" if method == "POST" else f"`{method} {path}`"


# fields


def _fields() -> Iterator[str]:
    asked = [name for name in CHAT if not name.startswith(_OF_ANSWERS)]
    answered = [name for name in CHAT if name.startswith(_OF_ANSWERS)]
    yield "## Fields of chat completions"
    yield (
        "**mapped**: it is said in the provider's own words, which the note names; to the first three everything"
        " goes as it is, fields that are not here too. **error**: the line is refused before anything is sent, in the"
        " words of the note; a value that asks for what happens anyway passes (`n` of 1, `stream` of false, null). A"
        " field that is not here is an error for `anthropic` and `gemini`. **not applicable**: taken and left out, as"
        " it cannot change the answer."
    )
    yield _field_table(asked, lambda each: each.chat)
    yield "With `google-generativeai` these are errors, and so are JSON Schemas that say more than its own:"
    yield "\n".join(
        ["| field | `google-generativeai` |", _line(2)]
        + [f"| `{field.name}` | {_cell(field)} |" for field in legacy_words.FIELDS.values()]
    )
    yield "And for `gemini` there is besides:"
    beyond = [field for name, field in _PROVIDERS[-1].chat.items() if name not in CHAT]
    yield "\n".join(
        ["| field | `gemini` |", _line(2), *(f"| `{field.name}` | {_cell(field)} |" for field in beyond)]
    )
    yield "## Answers of chat completions"
    yield _field_table(answered, lambda each: each.chat)
    yield "## Fields of embeddings"
    yield _field_table(EMBEDDINGS, lambda each: each.embeddings)


def _field_table(names: Sequence[str], table: Callable[[_Provider], Mapping[str, Field]]) -> str:
    alike, others = _PROVIDERS[:3], _PROVIDERS[3:]
    rows = [
        f"| field | {_names(alike)} | {' | '.join(_names([each]) for each in others)} |",
        _line(2 + len(others)),
    ]
    for name in names:
        assert {table(each)[name].note for each in alike} == {AS_IT_IS}
        rows.append(f"| `{name}` | mapped | {' | '.join(_cell(table(each)[name]) for each in others)} |")
    return "\n".join(rows)


def _cell(field: Field) -> str:
    return f"{_SUPPORT[field.support]}{field.note}".replace("|", "\\|")


# errors


def _errors() -> Iterator[str]:
    yield "## What errors mean"
    yield "\n".join(
        ["| in short | what becomes of the line |", _line(2)]
        + [f"| {short} | {meaning} |" for short, meaning in _OUTCOMES.values()]
    )
    yield (
        "An error is known by its own words first, `code` before `type`, then by its HTTP status. Inside an HTTP 200"
        " it means what it means anywhere; if it names neither a word that is known nor a status, it is tried again."
        " A 429 that says that the request is larger than the limit itself fails, on any of them."
    )
    yield "### By status"
    columns = _by_meanings()
    rows = [f"| status | {' | '.join(_names(who) for _, who in columns)} |", _line(1 + len(columns))]
    for title, status in _STATUSES.items():
        means = [signals.classify(status, ErrorObject(), meanings)[0] for meanings, _ in columns]
        rows.append(f"| {title} | {' | '.join(_OUTCOMES[verdict][0] for verdict in means)} |")
    yield "\n".join(rows)
    yield "### By word"
    yield "Whatever the status."
    yield "\n".join(["| provider | words | in short |", _line(3), *_words()])
    yield (
        "How long to wait is looked for in `retry-after-ms`, `retry-after`, the reset of the limit that has run out"
        " (`x-ratelimit-reset-…`, `anthropic-ratelimit-…-reset`), the error's details (Gemini's `RetryInfo`; at least"
        " an hour where a quota of the day is used up) and its message, in that order."
    )


def _words() -> Iterator[str]:
    for meanings, who in _by_meanings():
        for verdict, (short, _) in _OUTCOMES.items():
            words = [f"`{word}`" for word, means in meanings.by_word.items() if means is verdict]
            words += [f"“{text}…”" for text, means in meanings.by_opening.items() if means is verdict]
            if words:
                yield f"| {_names(who)} | {', '.join(words)} | {short} |"


def _by_meanings() -> list[tuple[Meanings, list[_Provider]]]:
    """Those whose errors mean the same, together."""
    found: list[tuple[Meanings, list[_Provider]]] = []
    for each in _PROVIDERS:
        alike = next((who for meanings, who in found if meanings is each.wire.meanings), None)
        if alike is None:
            found.append((each.wire.meanings, [each]))
        else:
            alike.append(each)
    return found


def _names(providers: Sequence[_Provider]) -> str:
    return ", ".join(f"`{each.name}`" for each in providers)


def _line(columns: int) -> str:
    return "|" + "---|" * columns
