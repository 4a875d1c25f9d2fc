"""Reads a request that may be malformed: what has another type than its field's is named, never guessed."""

import base64
import binascii
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from batchmill.providers.wire import UntranslatableError

_DATA_URL: Final = re.compile(r"data:(?P<mime>[\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.ASCII)


class Blob(NamedTuple):
    """Bytes in a request.

    Attributes:
        data: In base64.
    """

    mime: str
    data: str


def text(value: Any, param: str) -> str:
    """A text; "" too."""
    if not isinstance(value, str):
        raise UntranslatableError(param, "must be a string")
    return value


def number(value: Any, param: str) -> int | float:
    """A finite number, no boolean."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UntranslatableError(param, "must be a number")
    return value


def whole(value: Any, param: str) -> int:
    """A whole number that fits in 32 bits, as Gemini's do; 12.0 is one."""
    found = number(value, param)
    if found != int(found) or not -(2**31) <= found < 2**31:
        raise UntranslatableError(param, "must be a whole number of 32 bits")
    return int(found)


def flag(value: Any, param: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise UntranslatableError(param, "must be true or false")
    return value


def items(value: Any, param: str) -> Sequence[Any]:
    """A list; an empty one too."""
    if not isinstance(value, list):
        raise UntranslatableError(param, "must be a list")
    return value


def members(value: Any, param: str) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise UntranslatableError(param, "must be an object")
    return value


def known(value: Any, param: str, names: Collection[str]) -> Mapping[str, Any]:
    """The members of an object that are not null; every name must be known, null or not."""
    found = members(value, param)
    for name in found:
        if name not in names:
            raise UntranslatableError(f"{param}.{name}", "is a field that Gemini has no word for")
    return {name: inner for name, inner in found.items() if inner is not None}


def required(holder: Mapping[str, Any], name: str, param: str) -> Any:
    """A member that must be there, and not null; of the request itself where `param` is ""."""
    if (value := holder.get(name)) is None:
        raise UntranslatableError(f"{param}.{name}" if param else name, "is missing")
    return value


def data_url(url: str, param: str) -> Blob:
    """What a `data:` URL holds.

    Raises:
        UntranslatableError: It is none in base64.
    """
    head = _DATA_URL.match(url)
    if head is None:
        raise UntranslatableError(param, "must be a data: URL with a media type and base64")
    return Blob(head["mime"].lower(), base64_of(url[head.end() :], param))


def base64_of(value: Any, param: str) -> str:
    """Base64 as it is, once it is known to be some."""
    data = text(value, param)
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UntranslatableError(param, "is not base64") from error
    if not data:
        raise UntranslatableError(param, "is empty")
    return data
