"""`/admin/estimate-cost` and `/admin/check-budget`: what one request costs, and whether it would fit."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.admin.fields import Dollars, Name, Words
from api.auth import Admin, Serving
from batchmill.budgets.model import OnLimit, Period, Scope
from batchmill.budgets.standing import CallFacts
from batchmill.errors import MisuseError
from batchmill.quotes.forecast import Basis
from batchmill.quotes.single import compose_request, read_request
from batchmill.requests.model import BatchOptions, Endpoint
from workers.quote_views import estimates_view
from workers.single_quotes import check_amount, check_request, check_view, quote_request

router = APIRouter(prefix="/admin")

NAMED = "the body"
Model = Annotated[Words, Field(min_length=1, description="MODEL (OpenAI's), PROVIDER/MODEL, or auto.")]


class Asked(BaseModel):
    """A request: its body, or a line of a batch; or what is to be asked."""

    model_config = ConfigDict(extra="forbid")

    endpoint: Endpoint | None = None
    body: dict[str, Any] | None = Field(None, description="The body of a request, or a line of a batch.")
    prompt: Words | None = Field(None, max_length=1_000_000, description="What to ask, instead of a body.")
    system_prompt: Annotated[str, Field(max_length=1_000_000)] = ""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    request_type: Name = ""

    def read(self) -> tuple[Endpoint, dict[str, Any]]:
        """The endpoint and the body.

        Raises:
            InputError: The body is no request.
            MisuseError: The endpoint does not take what goes with the prompt.
        """
        if self.prompt is None and self.body is None:
            raise MisuseError("nothing says what is to be asked", "give a prompt, or the body of a request")
        if self.prompt is None:
            return read_request(NAMED, self.body, self.endpoint)
        if self.body is not None:
            raise MisuseError("prompt and body exclude each other", "leave one of them out")
        endpoint = self.endpoint or Endpoint.CHAT
        body = compose_request(
            endpoint, self.prompt, system_prompt=self.system_prompt, max_tokens=self.max_tokens
        )
        return endpoint, body


class EstimateCost(Asked):
    """What is to be estimated."""

    model: Model | None = None
    models: list[Model] = Field([], max_length=100, description="Several are compared, cheapest first.")

    def wanted(self, body: dict[str, Any]) -> list[str]:
        """The models that are asked."""
        return [*([self.model] if self.model else []), *self.models] or [model_of(body)]


class CheckBudget(Asked):
    """A call that somebody wants to make; or an amount."""

    model: Model | None = None
    amount_usd: Dollars | None = Field(None, description="Whether this fits, instead of a request.")
    tenant: Name | None = Field(None, description="By default the key's own.")
    user: Name = ""
    batch: Name = Field("", description="Id of the batch that the call is of.")


class Estimate(BaseModel):
    """What a request costs at one model. Money is exact dollars; null where no price is known."""

    provider: str
    model: str
    input_tokens: int
    is_exact: bool
    output_tokens: int
    expected_usd: str | None
    most_usd: str | None
    unpriced_reason: str | None
    output_basis: Basis


class Estimates(BaseModel):
    """Cheapest first."""

    estimates: list[Estimate]


class BudgetFit(BaseModel):
    """One budget that covers the call. `verdict`: fits now; later, once calls in flight come cheaper than held for;
    never, in this period; unpriced calls are refused there."""

    budget: str
    scope: Scope
    name: str | None
    period: Period
    fits: bool
    verdict: str
    on_limit: OnLimit
    limit_usd: str
    spent_usd: str
    held_usd: str
    left_usd: str
    until: str | None


class BudgetCheck(BaseModel):
    """Whether a call would be made now, as far as budgets go; nothing is held for it."""

    fits: bool
    amount_usd: str | None
    provider: str | None
    model: str | None
    tenant: str
    user: str | None
    request_type: str | None
    budgets: list[BudgetFit]


@router.post("/estimate-cost", response_model=Estimates, summary="Estimate a cost")
def estimate_cost(service: Serving, asked: EstimateCost) -> dict[str, Any]:
    """What one request costs, as `batchmill estimate` tells it; nothing is sent."""
    endpoint, body = asked.read()
    options = BatchOptions(request_type=asked.request_type)
    return estimates_view(
        quote_request(service.database, service.settings, endpoint, body, asked.wanted(body), options)
    )


@router.post("/check-budget", response_model=BudgetCheck, summary="Check budgets")
def check_budget(service: Serving, caller: Admin, asked: CheckBudget) -> dict[str, Any]:
    """Whether a call, or an amount, fits into every budget that covers it, now."""
    if sum(given is not None for given in (asked.amount_usd, asked.body, asked.prompt)) != 1:
        raise MisuseError("nothing says what is to be checked", "give one of amount_usd, body and prompt")
    facts = CallFacts(
        tenant=caller.tenant if asked.tenant is None else asked.tenant,
        user=asked.user,
        provider="",
        model="",
        request_type=asked.request_type,
        batch=asked.batch,
    )
    database, settings = service.database, service.settings
    if asked.amount_usd is not None:
        return check_view(check_amount(database, settings, asked.amount_usd, asked.model, facts))
    endpoint, body = asked.read()
    return check_view(check_request(database, settings, endpoint, body, asked.model or model_of(body), facts))


def model_of(body: dict[str, Any]) -> str:
    """The model that a body itself names.

    Raises:
        MisuseError: It names none.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model or "\0" in model:
        raise MisuseError("nothing says which model to ask", "name it as model")
    return model
