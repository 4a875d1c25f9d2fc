"""Connections that are dead and do not say so: found out from both ends, in bounded time."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, select, text, update

from batchmill.errors import DatabaseError
from db import drivers
from db.engine import Database
from db.tables import sweeps
from tests.support.proxy import Fault, Proxy, proxy
from tests.support.servers import SERVER_SOCKET, on_postgresql

SOON = {"tcp_user_timeout": 600, "keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 1}

pytestmark = on_postgresql


@pytest.fixture
def before(database_url: str) -> Iterator[Proxy]:
    """A proxy before the server."""
    with proxy(Path(str(make_url(database_url).query["host"])) / SERVER_SOCKET) as one:
        yield one


@pytest.fixture
def far(database_url: str, before: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The same database, seen through it, by people in a hurry."""
    monkeypatch.setattr(drivers, "WHEN_GONE", drivers.WHEN_GONE | SOON)
    monkeypatch.setattr(drivers, "LONGEST_IDLE", "500ms")
    monkeypatch.setattr(drivers, "PING_AFTER_S", 3_600.0)
    url = make_url(database_url).set(host="127.0.0.1", port=before.port, query={})
    opened = Database(url.render_as_string(hide_password=False))
    yield opened
    before.switch(Fault.RESET)
    opened.close()


def look(database: Database) -> list[Any]:
    """Ask the server something."""
    with database.read() as tx:
        return list(tx.rows(text("SELECT 1")))


def test_server_gone_without_a_word(far: Database, before: Proxy) -> None:
    """Whoever asks learns of it as of any outage, and is served when it is back."""
    look(far)
    before.switch(Fault.GONE, new=False)
    with pytest.raises(DatabaseError):
        look(far)
    assert look(far)


def test_client_gone_within_a_transaction(database: Database, far: Database, before: Proxy) -> None:
    """Its locks are let go: others wait no longer than the server does for its next word."""
    with database.write() as tx:
        tx.run(sweeps.insert().values(name="sweep", owner="nobody", lease_until_ms=0))
    take = update(sweeps).where(sweeps.c.name == "sweep")
    has_lock, may_go = threading.Event(), threading.Event()

    def begin() -> None:
        with far.write() as tx:
            tx.run(take.values(owner="far"))
            has_lock.set()
            may_go.wait(30)

    def lose() -> None:
        with pytest.raises(DatabaseError):
            begin()

    gone = threading.Thread(target=lose)
    gone.start()
    assert has_lock.wait(30)
    before.switch(Fault.GONE)
    with database.write() as tx:
        tx.run(take.values(owner="near"))
    before.switch(Fault.NONE)
    may_go.set()
    gone.join(30)
    assert not gone.is_alive()
    with database.read() as tx:
        assert [row.owner for row in tx.rows(select(sweeps))] == ["near"]


def test_the_owner_knows_better(database_url: str) -> None:
    """What DATABASE_URL says of the connection stands, and so does what the server is set to."""
    said = {"tcp_user_timeout": "90000", "options": "-c idle_in_transaction_session_timeout=90s"}
    mine = Database(make_url(database_url).update_query_dict(said).render_as_string(hide_password=False))
    with mine.read() as tx:
        there = tx.rows(text("SELECT current_setting('idle_in_transaction_session_timeout')"))[0][0]
        here = tx._driver.info.get_parameters()
    mine.close()
    assert (here["tcp_user_timeout"], here["keepalives_idle"], there) == ("90000", "10", "90s")
