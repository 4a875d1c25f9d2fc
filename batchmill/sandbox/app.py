"""What the sandbox does with a request: find its route, let it in, log it, bill it, answer it or spoil the answer.

The same on every wire; what differs is the wire's. Logged and billed when it comes, before any delay: like a
provider, it charges for answers nobody waited for.
"""

import random
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from batchmill.sandbox.bill import DEFAULT_PRICE, Bill, Price, Tokens
from batchmill.sandbox.compose import compose
from batchmill.sandbox.draws import Draws
from batchmill.sandbox.faults import Fault
from batchmill.sandbox.files import CallLog
from batchmill.sandbox.limits import NO_LIMITS, LimitRules, Limits
from batchmill.sandbox.outages import read_outage
from batchmill.sandbox.outcomes import (
    NOT_A_MODEL,
    Answer,
    Complaint,
    ComplaintError,
    Headers,
    Outcome,
    Reaction,
    as_json,
)
from batchmill.sandbox.prompts import Asked, read_object
from batchmill.sandbox.request import Request
from batchmill.sandbox.wires.base import Route, Wire
from batchmill.sandbox.wires.routes import find_route, wire_of
from batchmill.streams.events import CONTENT_TYPE

DRIP_S: Final = 10.0
_BILL, _FAULTS, _HEALTH = "/sandbox/bill", "/sandbox/faults", "/health"


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
        route = find_route(request)
        wire = route.wire if route is not None else wire_of(request)
        try:
            if route is None or request.method != "POST":
                return Reaction(outcome=self._page(request, route, wire))
            return Reaction(outcome=self._call(route, request), delay_s=self._latency_s())
        except ComplaintError as error:
            return Reaction(outcome=wire.refuse(error.complaint, request.request_id))
        except Exception:  # one call's trouble must not take the others' connections down
            traceback.print_exc(file=sys.stderr)
            complaint = Complaint(status=500, message="The sandbox itself failed; see its stderr.")
            return Reaction(outcome=wire.refuse(complaint, request.request_id))

    def _call(self, route: Route, request: Request) -> Outcome:
        wire = route.wire
        asked: Asked | None = None
        fault: Fault | None = None
        billed: Tokens | None = None
        cost_nanos = 0
        admission = NO_LIMITS
        headers: Headers = ()
        outcome: Outcome
        try:
            asked = wire.read(route, request)
            if self._limits is not None:
                admission = self._limits.admit(asked, wire)
                headers = admission.headers
            if admission.refusal is not None:
                outcome = wire.refuse(admission.refusal, request.request_id)
            else:
                fault = self._draws.fault_of(asked)
                outcome, billed, cost_nanos = self._answer(wire, asked, fault, request.request_id, headers)
                if self._limits is not None and wire.settles_output and billed is not None:
                    headers = self._limits.settle(asked, wire, billed.output)
                    if isinstance(outcome, Answer):
                        outcome = replace(outcome, headers=headers)
        except ComplaintError as error:
            fault, outcome = None, wire.refuse(error.complaint, request.request_id)
        if isinstance(outcome, Answer) and outcome.headers is not headers:
            outcome = _with_headers(outcome, headers)
        self._record(route, request, asked, fault, outcome, billed, cost_nanos)
        return outcome

    def _answer(
        self, wire: Wire, asked: Asked, fault: Fault | None, request_id: str, headers: Headers
    ) -> tuple[Outcome, Tokens | None, int]:
        """The answer, or what the fault makes of it; what is charged for; and how much."""
        composed = compose(asked, self._behaviour.replies, fault.cut_at if fault else None)
        cost_nanos = self.bill.cost_nanos(asked.model, composed.tokens)
        shaped = wire.shape(asked, composed, request_id, cost_nanos)
        if fault is not None and fault.spoil is None:
            return wire.refuse(wire.faults[fault.name], request_id), None, 0
        answer = Answer(body=as_json(shaped), headers=headers, id_header=wire.id_header)
        if (events := wire.stream(asked, shaped)) is not None:
            answer = replace(answer, body=events, content_type=CONTENT_TYPE)
        if fault is None or fault.spoil is None:
            return answer, composed.tokens, cost_nanos
        if fault.drips:
            answer = replace(answer, drip_s=self._behaviour.drip_s)
        if fault.billed:
            return fault.spoil(answer), composed.tokens, cost_nanos
        return fault.spoil(answer), None, 0

    def _record(
        self,
        route: Route,
        request: Request,
        asked: Asked | None,
        fault: Fault | None,
        outcome: Outcome,
        billed: Tokens | None,
        cost_nanos: int,
    ) -> None:
        model = asked.model if asked else route.model
        ended = outcome.status if isinstance(outcome, Answer) else outcome.value
        if self._log is not None:
            self._log.write(
                {
                    "time": time.time(),
                    "request_id": request.request_id,
                    "client_request_id": request.client_request_id,
                    "wire": route.wire.name,
                    "endpoint": route.name,
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

    def _page(self, request: Request, route: Route | None, wire: Wire) -> Answer:
        if request.method == "POST" and request.path == _FAULTS:
            self._draws.order(read_outage(read_object(request.body)))
        elif request.method != "GET" or route is not None:
            raise ComplaintError(self._unknown_page(request, route, wire))
        content = self._own_page(request.path) or wire.page(request)
        if content is None:
            raise ComplaintError(self._unknown_page(request, route, wire))
        return Answer(body=as_json(content), id_header=wire.id_header)

    def _own_page(self, path: str) -> dict[str, Any] | None:
        if path == _BILL:
            return self.bill.statement() | {"limits": self._limits.statement() if self._limits else {}}
        if path == _FAULTS:
            return {"sandbox": NOT_A_MODEL, "faults": self._draws.statement()}
        return {"status": "ok", "sandbox": NOT_A_MODEL} if path == _HEALTH else None

    def _unknown_page(self, request: Request, route: Route | None, wire: Wire) -> Complaint:
        known = (_BILL, _FAULTS, _HEALTH, "/v1/models", "/v1beta/models", "/v1/key")
        if route is None and request.path not in known:
            message = f"Invalid URL ({request.method} {request.path})"
            return Complaint(status=404, message=message, code="unknown_url")
        message = f"Not allowed to {request.method} on {request.path}."
        return Complaint(status=405, message=message, code="method_not_supported")

    def _latency_s(self) -> float:
        shortest, longest = self._behaviour.latency_s
        return self._random.uniform(shortest, longest) if longest > 0.0 else 0.0


def _with_headers(answer: Answer, headers: Headers) -> Answer:
    """The answer with these headers too; its own of the same name stay."""
    return replace(answer, headers=tuple((dict(headers) | dict(answer.headers)).items()))
