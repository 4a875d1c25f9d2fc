"""The seam to a provider's own language: how a call is written, what an answer says, what its errors mean.

Requests and answers are in OpenAI's shapes everywhere in batchmill; a wire is the only place that knows another.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from yarl import URL

from batchmill.errors import SettingsError
from batchmill.limits.model import Quota
from batchmill.money.usage import Usage
from batchmill.providers.base import Call
from batchmill.providers.signals import ErrorObject, Meanings
from batchmill.requests.model import Endpoint


class UntranslatableError(Exception):
    """A request asks for something that a provider has no word for.

    Attributes:
        param: The field of the request that cannot be said, `logit_bias` for instance.
        why: The rest of the sentence that begins with the field: what would help, too.
    """

    def __init__(self, param: str, why: str) -> None:
        super().__init__(param, why)
        self.param = param
        self.why = why

    def __str__(self) -> str:
        return f"'{self.param}' {self.why}"


class Answer(NamedTuple):
    """An answer in OpenAI's shape.

    Attributes:
        content: As a JSON value.
        body: The same as bytes of JSON.
    """

    content: Mapping[str, Any]
    body: bytes


class Wire(Protocol):
    """Speaks one provider's language. Pure: it opens no connection and keeps nothing of a call.

    Attributes:
        name: What messages call the provider.
        base: Its address.
        keys: Every key that calls may go out with, in clear; "" for none.
        meanings: What its errors mean.
        streams: The endpoints whose answers it gives in pieces, in OpenAI's words, to who asks for that.
    """

    @property
    def name(self) -> str: ...

    @property
    def base(self) -> URL: ...

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def meanings(self) -> Meanings: ...

    @property
    def streams(self) -> Collection[Endpoint]: ...

    def write(self, call: Call) -> bytes:
        """The whole HTTP request of a call.

        Raises:
            UntranslatableError: The provider cannot be asked for that.
        """
        ...

    def probe(self, account: int) -> bytes:
        """The whole HTTP request that costs nothing and tells whether the provider is there and knows the key."""
        ...

    def quotas(self, headers: Mapping[str, str]) -> tuple[Quota, ...]:
        """What the headers of an answer say of the provider's limits. Raises nothing.

        Args:
            headers: By name in lower case.
        """
        ...

    def read(self, endpoint: Endpoint, answer: Any, body: bytes) -> Answer | None:
        """What a 2xx answer says; None when it is no finished answer of its endpoint. Raises nothing.

        Args:
            answer: Its body as a JSON value.
            body: The same as valid JSON.
        """
        ...

    def usage(self, endpoint: Endpoint, answer: Any) -> Usage | None:
        """The tokens that any JSON of the provider's names; None where it names none. Raises nothing."""
        ...

    def explain(self, status: int, answer: Any) -> ErrorObject:
        """What an answer that is an error says, in the words that `meanings` knows. Raises nothing.

        Args:
            status: As HTTP said it.
        """
        ...

    def error_body(self, error: ErrorObject, body: bytes | None) -> bytes | None:
        """The body of an error, in OpenAI's shape."""
        ...


class Secret(Protocol):
    """A key that does not show itself, pydantic's `SecretStr` for instance."""

    def get_secret_value(self) -> str:
        """The key in clear."""
        ...


def base_of(name: str, base_url: str, example: str) -> URL:
    """The base address of a provider.

    Args:
        example: One as it should be given.

    Raises:
        SettingsError: It is none. The message never holds a key.
    """
    hint = f"give it as its SDK reads it, {example} for instance"
    try:
        base = URL(base_url.strip())
    except ValueError as error:
        raise SettingsError(f"the base URL of {name} is not a URL", hint) from error
    if base.scheme not in ("http", "https") or not base.host:
        raise SettingsError(f"the base URL of {name} is not an http(s) address", hint)
    if base.user or base.password:
        raise SettingsError(f"the base URL of {name} holds a user or password", "give the key as its API key")
    return base


def usable_keys(name: str, api_keys: Sequence[str | Secret]) -> tuple[str, ...]:
    """The keys in clear; at least one, which is "" where there is none.

    Raises:
        SettingsError: One of them cannot be a key. The message does not show it.
    """
    return tuple(_usable(name, key) for key in api_keys) or ("",)


def head(name: str, base: URL, method: str, path: str, headers: Mapping[str, str]) -> bytes:
    """What a request begins with, the blank line not included. A query of the base address is kept.

    Args:
        name: What messages call the provider.
        path: Percent-encoded, added to the base's own.
        headers: Those of the account; "" leaves one out.

    Raises:
        SettingsError: A header has a character that no header has. The message does not show it.
    """
    for header, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise SettingsError(
                f"{header} of {name} holds a character no header has", "copy it anew, in one line"
            )
    target = base.with_path(base.raw_path.rstrip("/") + path, encoded=True, keep_query=True).raw_path_qs
    told = {
        "Host": base.host_port_subcomponent or "",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "User-Agent": "batchmill",
    } | {header: value for header, value in headers.items() if value}
    lines = [f"{method} {target} HTTP/1.1", *(f"{header}: {value}" for header, value in told.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def post(head: bytes, call: Call, body: bytes) -> bytes:
    """A whole request: its head, the id and length of this call, its body."""
    own = f"X-Client-Request-Id: {call.client_request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    return b"".join((head, own.encode("ascii"), body))


def get(head: bytes) -> bytes:
    """A whole request without a body."""
    return head + b"\r\n"


def _usable(name: str, api_key: str | Secret) -> str:
    key = (api_key if isinstance(api_key, str) else api_key.get_secret_value()).strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingsError(
            f"the API key of {name} holds a character no key has", "copy it anew, in one line"
        )
    return key
