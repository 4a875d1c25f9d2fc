"""Connections that end, stand still or go dead between the parts: every line is answered once all the same.

A proxy stands before the provider, the database or the broker and does so at moments that the seed decides.
`make test` tries one of these, `make chaos` all.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import URL, make_url, select

from batchmill.requests.model import AttemptState
from db.tables import attempts
from tests.chaos.conftest import PATIENCE_S, every_seed
from tests.support.arena import Machines
from tests.support.mill import Sandbox
from tests.support.ordeal import Ordeal, Outage, two_outages
from tests.support.proxy import Fault, Proxy, proxy
from tests.support.servers import SERVER_SOCKET

FAULTS = [fault for fault in Fault if fault is not Fault.NONE]
LASTS_S = (0.5, 1.5)
SOON_NOTICED = {
    "tcp_user_timeout": "1500",
    "keepalives_idle": "1",
    "keepalives_interval": "1",
    "keepalives_count": "1",
    "options": "-c idle_in_transaction_session_timeout=2s",
}
"""As our own defaults, yet in seconds."""

MAY_BECOME_UNKNOWN = {
    Fault.RESET: {"connection_reset", "disconnected"},
    Fault.HALF_OPEN: {"request_timeout"},
    Fault.GONE: {"request_timeout"},
}
"""Of calls whose way is harmed so, by error code; of others none."""


def faults(dialects: Sequence[str], *few: tuple[str, Fault]) -> pytest.MarkDecorator:
    """All there are, on each of these databases; where time is short a few alone."""
    every = [
        pytest.param(*case, marks=() if case in few else pytest.mark.large)
        for case in product(dialects, FAULTS)
    ]
    return pytest.mark.parametrize(("dialect", "fault"), every, indirect=["dialect"])


def through(before: Proxy, fault: Fault, seed: int) -> list[Outage]:
    """Two outages of what it stands before."""
    return two_outages(seed, lambda: before.switch(fault), lambda: before.switch(Fault.NONE), lasts_s=LASTS_S)


def unknown_for(crowd: Machines) -> set[str]:
    """What became of the calls of which nobody knows whether they were billed."""
    with crowd.database.read() as tx:
        lost = tx.rows(select(attempts.c.error).where(attempts.c.state == AttemptState.UNKNOWN))
    return {row.error for row in lost}


@faults(["sqlite", "postgresql"], ("sqlite", Fault.HALF_OPEN))
@every_seed
def test_before_the_provider(
    ordeal: Ordeal, crowd: Machines, provider: Sandbox, fault: Fault, seed: int, dialect: str
) -> None:
    """Calls whose answers are lost end by the call timeout at the latest, are listed as unknown, and made again."""
    with proxy(("127.0.0.1", int(provider.port))) as before:
        batch = ordeal.begin({"OPENAI_BASE_URL": f"http://127.0.0.1:{before.port}/v1"})
        ordeal.endure(through(before, fault, seed), within_s=PATIENCE_S)
    proof = ordeal.prove(batch)
    print(f"\n{dialect}, provider {fault}, seed {seed}: {proof}")
    if fault in MAY_BECOME_UNKNOWN:
        assert unknown_for(crowd) <= MAY_BECOME_UNKNOWN[fault]
        assert proof.unknown
    else:
        assert not proof.unknown


@faults(["postgresql"])
@every_seed
def test_before_the_database(ordeal: Ordeal, crowd: Machines, fault: Fault, seed: int) -> None:
    """A machine writes on when it can again, and whether a commit was made is found out; where connections stay dead
    and pretend to live, that machine is lost and the other goes on."""
    url = make_url(crowd.mill.environ["DATABASE_URL"])
    with proxy(Path(str(url.query["host"])) / SERVER_SOCKET) as before:
        batch = ordeal.begin()
        crowd.part_environments()
        cut_off = crowd.machines[:1] if fault is Fault.HALF_OPEN else crowd.machines
        for machine in cut_off:
            machine.environ["DATABASE_URL"] = _by(url, before)
        ordeal.endure(through(before, fault, seed), within_s=PATIENCE_S)
    print(f"\ndatabase {fault}, seed {seed}: {ordeal.prove(batch)}")


def _by(url: URL, before: Proxy) -> str:
    proxied = url.set(host="127.0.0.1", port=before.port, query=SOON_NOTICED)
    return proxied.render_as_string(hide_password=False)


@faults(["postgresql"])
@every_seed
def test_before_the_broker(ordeal: Ordeal, crowd: Machines, fault: Fault, seed: int) -> None:
    """Nobody is told of work, nor shares limits, for a while; the work is done."""
    url = urlsplit(crowd.mill.environ["BROKER_URL"])
    assert url.hostname is not None
    assert url.port is not None
    with proxy((url.hostname, url.port)) as before:
        batch = ordeal.begin()
        crowd.part_environments()
        for machine in crowd.machines:
            machine.environ["BROKER_URL"] = f"redis://127.0.0.1:{before.port}"
        ordeal.endure(through(before, fault, seed), within_s=PATIENCE_S)
    proof = ordeal.prove(batch)
    print(f"\nbroker {fault}, seed {seed}: {proof}")
    assert not proof.unknown
