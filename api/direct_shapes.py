"""What single requests take beside OpenAI's own fields, and what is answered of models."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.batch_shapes import Name
from batchmill.budgets.model import OnLimit
from batchmill.errors import ParameterError
from batchmill.providers.names import ProviderName
from batchmill.requests.checks import name_fault
from batchmill.requests.model import BatchOptions, CacheMode, Endpoint, Lane, OnUnknown
from batchmill.routing.names import MOST_FALLBACKS
from batchmill.routing.wants import FIELDS, dump_wants, read_wants
from batchmill.streams.pieces import STREAMED
from workers.serving.questions import WISHES


class Wishes(BaseModel):
    """What of a request is for us, and goes to no provider."""

    model_config = ConfigDict(extra="forbid")

    priority: Lane = Lane.HIGH
    cache: CacheMode = CacheMode.AUTO
    on_unknown: OnUnknown = OnUnknown.RETRY
    on_budget: OnLimit | None = None
    job_name: Name = ""
    request_type: Name = ""
    user: Name = ""
    fallback: Annotated[list[Name], Field(max_length=MOST_FALLBACKS)] | None = None
    quality: str | None = None
    deep_reasoning: bool | None = None
    complexity: str | None = None
    user_tier: str | None = None
    max_latency_ms: int | None = None

    def options(self, tenant: str) -> BatchOptions:
        """What is asked of the request.

        Raises:
            ParameterError: A name is none, or a wish is not one that there is.
        """
        for param in ("job_name", "request_type", "user"):
            if (value := getattr(self, param)) and (fault := name_fault(f"{WISHES}.{param}", value)):
                raise ParameterError(fault.message, fault.param or "", fault.code)
        return BatchOptions(
            lane=self.priority,
            cache=self.cache,
            on_unknown=self.on_unknown,
            on_budget=self.on_budget,
            job_name=self.job_name,
            request_type=self.request_type,
            tenant=tenant,
            user=self.user,
            routing=self._routing(),
        )

    def _routing(self) -> str:
        wanted = {name: value for name in FIELDS if (value := getattr(self, name)) is not None}
        if not wanted:
            return ""
        wants, faults = read_wants(wanted, default_provider=ProviderName.OPENAI, param=WISHES)
        for fault in faults:
            raise ParameterError(fault.message, fault.param or "", fault.code)
        return dump_wants(wants)


class Model(BaseModel):
    """A model that may be asked for."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str


class ModelList(BaseModel):
    """Those that are told of."""

    object: Literal["list"] = "list"
    data: list[Model]


_CONTENT: dict[Endpoint, tuple[str, dict[str, Any]]] = {
    Endpoint.CHAT: ("messages", {"type": "array", "minItems": 1, "items": {"type": "object"}}),
    Endpoint.RESPONSES: ("input", {"type": ["string", "array"]}),
    Endpoint.EMBEDDINGS: ("input", {"type": ["string", "array"]}),
    Endpoint.COMPLETIONS: ("prompt", {"type": ["string", "array"]}),
    Endpoint.MODERATIONS: ("input", {"type": ["string", "array"]}),
}


_HEADERS: dict[str, str] = {
    "x-batchmill-request": "Its id",
    "x-batchmill-cached": "`true` where no call was made for it",
    "x-batchmill-cost-usd": "What it has cost, in plain decimals, or `unknown`; not where it comes in pieces",
    "x-batchmill-provider": "Who has answered",
    "x-batchmill-model": "Which model",
    "x-batchmill-selection": "How that was chosen",
}
_STREAM: dict[str, Any] = {
    "type": ["boolean", "null"],
    "default": None,
    "description": "Whether the answer is wanted in pieces as they come, as server-sent events.",
}


def described(endpoint: Endpoint) -> dict[str, Any]:
    """What a route says of itself in the OpenAPI document: the body is OpenAI's, and passed through."""
    field, content = _CONTENT[endpoint]
    schema = {
        "type": "object",
        "required": ["model", field],
        "properties": {
            "model": {"type": "string", "minLength": 1, "description": "`gpt-4o-mini`, or `provider/model`."},
            field: content,
            **({"stream": _STREAM} if endpoint in STREAMED else {}),
            WISHES: {"anyOf": [{"$ref": "#/components/schemas/Wishes"}, {"type": "null"}]},
        },
        "additionalProperties": True,
        "description": "OpenAI's fields; those that are not named here are passed on as they are.",
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def answers(endpoint: Endpoint) -> dict[int | str, dict[str, Any]]:
    """What it says of its answers."""
    pieces = {"text/event-stream": {"schema": {"type": "object"}}} if endpoint in STREAMED else {}
    headers = {name: {"schema": {"type": "string"}, "description": told} for name, told in _HEADERS.items()}
    content = {"application/json": {"schema": {"type": "object"}}, **pieces}
    return {200: {"description": "The provider's answer", "content": content, "headers": headers}}
