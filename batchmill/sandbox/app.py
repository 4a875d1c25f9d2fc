"""What the sandbox does with a request: find its route, let it in, log it, bill it, answer it or spoil the answer.

Logged and billed when it comes, before any delay: like a provider, it charges for answers nobody waited for.
"""

import random
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from batchmill.requests.model import Endpoint
from batchmill.sandbox.bill import DEFAULT_PRICE, PRICES, Bill, Price, Tokens
from batchmill.sandbox.compose import compose
from batchmill.sandbox.draws import PREFIX, Draws
from batchmill.sandbox.faults import FAULTS, SAME_AS, Fault
from batchmill.sandbox.files import CallLog
from batchmill.sandbox.http import Request
from batchmill.sandbox.limits import NO_LIMITS, Headers, LimitRules, Limits
from batchmill.sandbox.outcomes import (
    NOT_A_MODEL,
    Answer,
    ComplaintError,
    Outcome,
    Reaction,
    as_json,
    complaint,
)
from batchmill.sandbox.prompts import Asked, parse_body, read_call

_ENDPOINTS: Final[Mapping[str, Endpoint]] = {endpoint.value: endpoint for endpoint in Endpoint}
DRIP_S: Final = 10.0
_PAGES: Final = ("/health", "/v1/models", "/sandbox/bill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the sandbox is to answer.

    Attributes:
        latency_s: Shortest and longest seconds a call waits for its answer, drawn evenly between them.
        seed: Of all drawing; the same seed draws the same latencies in the order in which calls come, and the
            same faults for the same prompts in any order.
        fault_rates: Share of calls that meet a fault, by its name.
        drip_s: How long a dripping answer takes.
        limits: What is let through.
        replies: Texts to replay by question; others get the sandbox's own.
        default_price: Of models that have none in the sandbox's table.
    """

    latency_s: tuple[float, float] = (0.0, 0.0)
    seed: int = 0
    fault_rates: Mapping[str, float] = field(default_factory=dict)
    drip_s: float = DRIP_S
    limits: LimitRules = field(default_factory=LimitRules)
    replies: Mapping[str, str] = field(default_factory=dict)
    default_price: Price = DEFAULT_PRICE


class Sandbox:
    """The sandbox without its sockets. Call `handle` from one thread only.

    Args:
        clock_ns: What the limits' windows go by; must not go back.
    """

    def __init__(
        self,
        behaviour: Behaviour,
        log: CallLog | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.bill = Bill(default_price=behaviour.default_price)
        self._behaviour = behaviour
        self._log = log
        self._draws = Draws(behaviour.fault_rates, behaviour.seed)
        self._limits = Limits(behaviour.limits, clock_ns) if behaviour.limits else None
        self._random = random.Random(behaviour.seed)

    def handle(self, request: Request) -> Reaction:
        """What becomes of a request. Never raises: a fault of the sandbox itself is an HTTP 500."""
        endpoint = _ENDPOINTS.get(request.path)
        try:
            if endpoint is None or request.method != "POST":
                return Reaction(outcome=self._page(request, endpoint))
            return Reaction(outcome=self._call(endpoint, request), delay_s=self._latency_s())
        except Exception:  # one call's trouble must not take the others' connections down
            traceback.print_exc(file=sys.stderr)
            answer = complaint(500, "The sandbox itself failed; see its stderr.", type="server_error")
            return Reaction(outcome=answer)

    def _call(self, endpoint: Endpoint, request: Request) -> Outcome:
        asked: Asked | None = None
        fault: Fault | None = None
        billed: Tokens | None = None
        admission = NO_LIMITS
        outcome: Outcome
        try:
            asked = read_call(endpoint, parse_body(request.body))
            if self._limits is not None:
                admission = self._limits.admit(asked)
            if admission.refusal is not None:
                outcome = admission.refusal
            else:
                fault = self._draws.fault_of(asked)
                outcome, billed = self._answer(asked, fault, request.request_id, admission.headers)
        except ComplaintError as error:
            fault, outcome = None, error.answer
        if isinstance(outcome, Answer) and outcome.headers is not admission.headers:
            outcome = _with_headers(outcome, admission.headers)
        self._record(endpoint, request, asked, fault, outcome, billed)
        return outcome

    def _answer(
        self, asked: Asked, fault: Fault | None, request_id: str, headers: Headers
    ) -> tuple[Outcome, Tokens | None]:
        """The answer, or what the fault makes of it, and what is charged for."""
        composed = compose(asked, self._behaviour.replies, request_id, fault.cut_at if fault else None)
        answer = Answer(body=as_json(composed.answer), headers=headers)
        if fault is None:
            return answer, composed.tokens
        if fault.drips:
            answer = replace(answer, drip_s=self._behaviour.drip_s)
        return fault.spoil(answer), composed.tokens if fault.billed else None

    def _record(
        self,
        endpoint: Endpoint,
        request: Request,
        asked: Asked | None,
        fault: Fault | None,
        outcome: Outcome,
        billed: Tokens | None,
    ) -> None:
        model = asked.model if asked else ""
        cost_nanos = self.bill.cost_nanos(model, billed) if billed else 0
        ended = outcome.status if isinstance(outcome, Answer) else outcome.value
        if self._log is not None:
            self._log.write(
                {
                    "time": time.time(),
                    "request_id": request.request_id,
                    "client_request_id": request.client_request_id,
                    "endpoint": endpoint.value,
                    "model": model,
                    "prompt_sha256": asked.prompt_sha256 if asked else "",
                    "outcome": ended,
                    "fault": fault.name if fault else "",
                    "input_tokens": billed.input if billed else 0,
                    "output_tokens": billed.output if billed else 0,
                    "cost_nanos": cost_nanos,
                }
            )
        self.bill.enter(model, billed, cost_nanos, ended, fault.name if fault else "")

    def _page(self, request: Request, endpoint: Endpoint | None) -> Answer:
        if endpoint is None and request.path not in _PAGES:
            message = f"Invalid URL ({request.method} {request.path})"
            return complaint(404, message, code="unknown_url")
        if endpoint is not None or request.method != "GET":
            message = f"Not allowed to {request.method} on {request.path}."
            return complaint(405, message, code="method_not_supported")
        return Answer(body=as_json(self._page_content(request.path)))

    def _page_content(self, path: str) -> dict[str, Any]:
        if path == "/sandbox/bill":
            return self.bill.statement() | {"limits": self._limits.statement() if self._limits else {}}
        if path == "/health":
            return {"status": "ok", "sandbox": NOT_A_MODEL}
        names = [*PRICES, *(PREFIX + name for name in (*FAULTS, *SAME_AS))]
        models = [{"id": n, "object": "model", "created": 0, "owned_by": "batchmill-sandbox"} for n in names]
        return {"object": "list", "data": models, "sandbox": NOT_A_MODEL}

    def _latency_s(self) -> float:
        shortest, longest = self._behaviour.latency_s
        return self._random.uniform(shortest, longest) if longest > 0.0 else 0.0


def _with_headers(answer: Answer, headers: Headers) -> Answer:
    """The answer with these headers too; its own of the same name stay."""
    return replace(answer, headers=tuple((dict(headers) | dict(answer.headers)).items()))
