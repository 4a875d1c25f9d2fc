"""What a request or a whole batch wants of routing: as JSON it comes in and is kept, a line's before its batch's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import orjson

from batchmill.catalogue.entries import Tier, check_name, parse_name
from batchmill.errors import MisuseError
from batchmill.providers.names import ProviderName
from batchmill.requests.checks import Fault, shown, wrong_type
from batchmill.routing.complexity import Complexity
from batchmill.routing.names import MOST_FALLBACKS, Target, parse_target

MOST_LATENCY_MS = 86_400_000


class Quality(StrEnum):
    """What may be asked for by `quality`."""

    PREMIUM = "premium"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What is wanted; a field that says nothing is None, `fallback` is empty.

    Attributes:
        fallback: Whom to ask, in this order, when the model asked for does not answer.
        quality: Premium, or whatever the type of the request prefers.
        deep_reasoning: A premium model that thinks before it answers. False is said too: it takes back the batch's.
        complexity: How complex the question is, in place of what is guessed from its text.
        user_tier: The highest tier that its user may have.
        max_latency_ms: The longest that an answer may typically take.
    """

    fallback: tuple[Target, ...] = ()
    quality: Quality | None = None
    deep_reasoning: bool | None = None
    complexity: Complexity | None = None
    user_tier: Tier | None = None
    max_latency_ms: int | None = None


FIELDS = tuple(field.name for field in fields(Wants))
NOTHING = Wants()


def merged(line: Wants, batch: Wants) -> Wants:
    """Return what a line wants, and where it says nothing what its batch wants."""
    return Wants(
        **{
            name: getattr(batch if getattr(line, name) == getattr(NOTHING, name) else line, name)
            for name in FIELDS
        }
    )


def read_wants(
    given: object, *, default_provider: str, param: str = "routing"
) -> tuple[Wants, tuple[Fault, ...]]:
    """Return what is wanted as a line says it, and everything wrong with that; null says nothing.

    Args:
        given: As parsed from JSON.
        default_provider: Whose model a fallback without a provider is.
        param: What the field is called in faults.
    """
    if given is None:
        return NOTHING, ()
    if not isinstance(given, dict):
        return NOTHING, (wrong_type(param, "an object", given),)
    said = {name: value for name, value in given.items() if value is not None}
    faults = (*_unknown(said, param), *_faults(said, default_provider, param))
    return (NOTHING if faults else _wants(said, default_provider)), faults


def read_routing(line: Mapping[str, Any]) -> tuple[str, tuple[Fault, ...]]:
    """Return what a line wants, as `dump_wants` has it, and everything wrong with what it says of that."""
    if line.get("routing") is None:
        return "", ()
    wants, faults = read_wants(line["routing"], default_provider=ProviderName.OPENAI)
    return dump_wants(wants), faults


def dump_wants(wants: Wants) -> str:
    """Return it as JSON, the same text for the same wishes; "" when nothing is wanted."""
    said = {name: value for name in FIELDS if (value := getattr(wants, name)) is not None and value != ()}
    if "fallback" in said:
        said["fallback"] = [target.name for target in wants.fallback]
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode() if said else ""


def load_wants(text: str) -> Wants:
    """Return what `dump_wants` made a text of."""
    if not text:
        return NOTHING
    said = orjson.loads(text)
    names = [parse_name(name) for name in said.pop("fallback", ())]
    fallback = tuple(Target(provider=provider, model=model) for provider, model in names)
    return _typed(said, fallback)


def _wants(said: Mapping[str, Any], default_provider: str) -> Wants:
    targets = (parse_target(text, default_provider=default_provider) for text in said.get("fallback", ()))
    return _typed(said, tuple(dict.fromkeys(targets)))


def _typed(said: Mapping[str, Any], fallback: tuple[Target, ...]) -> Wants:
    return Wants(
        fallback=fallback,
        quality=Quality(said["quality"]) if "quality" in said else None,
        deep_reasoning=said.get("deep_reasoning"),
        complexity=Complexity(said["complexity"]) if "complexity" in said else None,
        user_tier=Tier(said["user_tier"]) if "user_tier" in said else None,
        max_latency_ms=said.get("max_latency_ms"),
    )


def _unknown(said: Mapping[str, Any], param: str) -> Iterator[Fault]:
    for name in said:
        if name not in FIELDS:
            text = f"Unknown parameter: {shown(f'{param}.{name}')}. It may have: {', '.join(FIELDS)}."
            yield Fault("unknown_parameter", text, f"{param}.{name}")


def _faults(said: Mapping[str, Any], default_provider: str, param: str) -> Iterator[Fault]:
    if "fallback" in said:
        yield from _fallback_faults(said["fallback"], default_provider, f"{param}.fallback")
    words: tuple[tuple[str, type[StrEnum]], ...] = (
        ("quality", Quality),
        ("complexity", Complexity),
        ("user_tier", Tier),
    )
    for name, kind in words:
        if name in said:
            yield from _word_faults(said[name], kind, f"{param}.{name}")
    if not isinstance(said.get("deep_reasoning", False), bool):
        yield wrong_type(f"{param}.deep_reasoning", "a boolean", said["deep_reasoning"])
    if "max_latency_ms" in said:
        yield from _latency_faults(said["max_latency_ms"], f"{param}.max_latency_ms")


def _word_faults(value: object, kind: type[StrEnum], param: str) -> Iterator[Fault]:
    if not isinstance(value, str):
        yield wrong_type(param, "a string", value)
    elif value not in list(kind):
        supported = ", ".join(f"'{word}'" for word in kind)
        yield Fault(
            "invalid_value", f"Invalid value: {shown(value)}. Supported values are: {supported}.", param
        )


def _latency_faults(value: object, param: str) -> Iterator[Fault]:
    if type(value) is not int:
        yield wrong_type(param, "an integer", value)
    elif not 1 <= value <= MOST_LATENCY_MS:
        text = f"Invalid value: '{param}' is {value}; it is from 1 to {MOST_LATENCY_MS:,} milliseconds."
        yield Fault("invalid_value", text, param)


def _fallback_faults(value: object, default_provider: str, param: str) -> Iterator[Fault]:
    if not isinstance(value, list):
        yield wrong_type(param, "an array", value)
    elif not value:
        yield Fault("invalid_value", f"Invalid value: '{param}' is empty. Leave it out.", param)
    elif len(value) > MOST_FALLBACKS:
        text = f"Invalid value: '{param}' has {len(value):,} models, at most {MOST_FALLBACKS} are allowed."
        yield Fault("invalid_value", text, param)
    else:
        for place, text in enumerate(value):
            if fault := _target_fault(text, default_provider, f"{param}[{place}]"):
                yield fault


def _target_fault(text: object, default_provider: str, param: str) -> Fault | None:
    if not isinstance(text, str):
        return wrong_type(param, "a string", text)
    try:
        target = parse_target(text, default_provider=default_provider)
        if target.is_auto:
            raise MisuseError("'auto' names no model to fall back to; ask for model 'auto' instead")
        check_name(target.provider, target.model)
    except MisuseError as error:
        return Fault("invalid_value", f"Invalid value: '{param}': {error.message}.", param)
    return None
