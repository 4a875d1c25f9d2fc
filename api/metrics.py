"""`/metrics`: how the service and the mill do, in Prometheus' words."""

import time
from collections.abc import Callable, Iterator

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import Admin
from api.errors import ERRORS
from api.families import HTTP_DURATION, HTTP_REQUESTS
from api.gauges import families
from batchmill.errors import BatchmillError
from workers.meters.readings import HomeReadings, build_info, metrics_of, samples_of, summed
from workers.meters.recorder import recorder_here
from workers.serving.figures import FigureReader
from workers.serving.service import Service

log = structlog.get_logger()
router = APIRouter(tags=["metrics"])

NO_ROUTE = "(none)"
NOT_ANSWERED = "none"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one app: what it counts itself, and what it reads from the database when it is asked."""

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        requests, durations = HTTP_REQUESTS, HTTP_DURATION
        self._requests = Counter(requests.name, requests.meaning, requests.labels, registry=None)
        self._durations = Histogram(
            durations.name, durations.meaning, durations.labels, buckets=durations.buckets, registry=None
        )
        self._figures = FigureReader(service.settings, service.database)
        self._home = HomeReadings(service.settings.home)
        self._registry.register(self)

    def count(self, method: str, route: str, status: str, duration_s: float) -> None:
        """Count a request that has been answered."""
        method = method if method in METHODS else "OTHER"
        self._requests.labels(method, route, status).inc()
        self._durations.labels(method, route).observe(duration_s)

    def collect(self) -> Iterator[Metric]:
        """What it counted, what the workers of its home did, and what the database says; without that, that it is
        away."""
        yield build_info()
        for family in (*self._requests.collect(), *self._durations.collect()):
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
        own = recorder_here().registry
        assert own is not None
        yield from metrics_of(summed([samples_of(own.collect()), self._home.read()]))
        try:
            figures = self._figures.read()
        except BatchmillError as error:
            log.warning("figures_not_read", code=error.code, error=error.message)
            figures = None
        yield from families(figures)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)


class Measuring:
    """Counts every request, by the route's template and never by its path: there are few of these."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, began_s, status = self._clock(), None, NOT_ANSWERED

        async def watched(message: Message) -> None:
            nonlocal began_s, status
            if message["type"] == "http.response.start":
                began_s, status = self._clock() - begun, str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            duration_s = self._clock() - begun if began_s is None else began_s
            self._metrics.count(scope["method"], route, status, duration_s)


def measure(app: FastAPI, service: Service) -> None:
    """Count the app's requests from now on, and let it tell; to be called last, so that nothing is missed."""
    app.state.metrics = Metrics(service)
    app.add_middleware(Measuring, metrics=app.state.metrics)
    app.include_router(router)


_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."}


@router.get("/metrics", response_class=Response, responses={200: _TEXT, **ERRORS}, summary="Metrics")
def read_metrics(request: Request, _: Admin) -> Response:
    """How the service and the mill do, for Prometheus."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
