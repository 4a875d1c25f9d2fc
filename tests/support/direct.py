"""A desk, or a whole service in front of one, with a sandbox for its provider: on real sockets, in one event loop."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import select

from api.app import make_app
from batchmill.limits.owner import OwnerLimits
from batchmill.requests.model import BatchOptions, Endpoint, Lane, RequestLine
from batchmill.sandbox.app import Behaviour
from batchmill.settings import Settings, load_settings
from db import limits
from db.engine import Database
from db.tables import attempts, batches, budget_periods, claims, flights, ledger, requests, workers
from tests.support.audit import Books, audit
from tests.support.budgets import add_budget
from tests.support.sandboxes import Clock, serving
from workers.assembly import make_home
from workers.serving.desk import Desk
from workers.serving.service import make_service

OPTIONS = BatchOptions(lane=Lane.HIGH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a test takes place.

    Attributes:
        url: Of the sandbox, `/v1` included.
    """

    settings: Settings
    url: str
    log: Path

    def calls(self) -> list[dict[str, Any]]:
        """Every call that the sandbox has received."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def database(self) -> Database:
        """The desk's database, for looking."""
        return Database(self.settings.database.url)

    def rows(self, statement: Any) -> list[Any]:
        """What the desk's database answers."""
        database = self.database()
        try:
            with database.read() as tx:
                return list(tx.rows(statement))
        finally:
            database.close()

    def states(self) -> dict[str, dict[str, int]]:
        """How many batches, requests and attempts there are in each state."""
        tables = {"batches": batches, "requests": requests, "attempts": attempts}
        return {
            name: dict(Counter(row.state for row in self.rows(select(table.c.state))))
            for name, table in tables.items()
        }

    def leftovers(self) -> dict[str, int]:
        """What has to be gone once nothing is in hand any more."""
        tables = {"claims": claims, "flights": flights, "workers": workers}
        return {name: len(self.rows(select(table))) for name, table in tables.items()}

    def costs(self) -> list[int | None]:
        """What each call came to, by the ledger."""
        called = select(ledger.c.cost_nanos).where(ledger.c.kind == "call").order_by(ledger.c.id)
        return [row.cost_nanos for row in self.rows(called)]

    def budgets(self) -> list[Any]:
        """The periods of every budget."""
        return self.rows(select(budget_periods))

    def add_budget(self, limit_nanos: int, **more: Any) -> None:
        """Let a budget cover all calls."""
        database = self.database()
        try:
            add_budget(database, limit_nanos, **more)
        finally:
            database.close()

    def limit(self, wanted: OwnerLimits) -> None:
        """Limit what goes out to a model."""
        database = self.database()
        try:
            with database.write() as tx:
                limits.merge(tx, wanted)
        finally:
            database.close()

    def books(self) -> Books:
        """Everything in the database, which keeps all of its promises."""
        database = self.database()
        try:
            return audit(database)
        finally:
            database.close()


@contextlib.asynccontextmanager
async def place(
    database_url: str, folder: Path, behaviour: Behaviour | None = None, **variables: str
) -> AsyncIterator[Place]:
    """A sandbox, and settings under which it is called."""
    log = folder / "calls.jsonl"
    log.touch()
    async with serving(behaviour, log, Clock()) as url:
        environ = {
            "DATABASE_URL": database_url,
            "BATCHMILL_HOME": str(folder / "home"),
            "OPENAI_BASE_URL": f"{url}/v1",
            "OPENAI_API_KEY": "sk-test-0123456789",
            "ANTHROPIC_BASE_URL": url,
            "BATCHMILL_BACKOFF_BASE_S": "0.01",
            "BATCHMILL_LEASE_S": "3",
            "BATCHMILL_GRACE_S": "5",
        }
        settings = load_settings(environ | variables, None)
        make_home(settings.home)
        yield Place(settings=settings, url=f"{url}/v1", log=log)


def at_desk(
    use: Callable[[Desk, Place], Awaitable[Any]],
    database_url: str,
    folder: Path,
    behaviour: Behaviour | None = None,
    **variables: str,
) -> Place:
    """What is left where a desk has been used so."""

    async def run() -> Place:
        async with place(database_url, folder, behaviour, **variables) as here:
            async with Desk(here.settings).open() as desk:
                await use(desk, here)
            return here

    return asyncio.run(run())


def served(
    use: Callable[[str, Place], Awaitable[Any]],
    database_url: str,
    folder: Path,
    behaviour: Behaviour | None = None,
    **variables: str,
) -> Place:
    """What is left where a service has been used so, by its address, over HTTP."""

    async def run() -> Place:
        async with (
            place(database_url, folder, behaviour, **variables) as here,
            _service(here.settings) as url,
        ):
            await use(url, here)
            return here

    return asyncio.run(run())


class _Server(uvicorn.Server):
    """One that leaves signals to the tester."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def _service(settings: Settings) -> AsyncIterator[str]:
    service = make_service(settings)
    config = uvicorn.Config(
        make_app(service), port=0, http="httptools", loop="asyncio", ws="none", log_config=None
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not running.done(), running
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        await running
        service.close()


def chat(text: str, model: str = "gpt-4o-mini", **body: Any) -> RequestLine:
    """A chat as the desk takes it."""
    messages = [{"role": "user", "content": text}]
    return RequestLine(1, "direct", Endpoint.CHAT, model, {"model": model, "messages": messages, **body})
