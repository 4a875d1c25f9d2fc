"""A broker that dies, forgets or stands still: nothing is lost, as it carries nothing but doorbells (design, §10.9)."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchmill.requests.model import Lane
from tests.chaos.conftest import PATIENCE_S, every_seed
from tests.support.arena import Machines, home
from tests.support.breakable import Valkey, breakable_valkey
from tests.support.mill import Sandbox, wait_until
from tests.support.ordeal import Ordeal, two_outages
from tests.support.servers import on_postgresql

RING_S, SWEEP_S = 2, 2
AT_ONCE_S = 2.0
"""What workers need on a busy machine from a ring to the first call."""
RECONNECT_S = 4.0
"""Who has lost the broker tries again after 2 s, then after 4 s more (kombu)."""

Deed = tuple[Callable[[Valkey], object], Callable[[Valkey], object]]
"""Its beginning and its end."""

DEEDS: dict[str, Deed] = {
    "killed": (Valkey.kill, Valkey.start),
    "stopped": (Valkey.stop, Valkey.start),
    "flushed": (Valkey.flush, Valkey.flush),
    "standing-still": (Valkey.stand_still, Valkey.go_on),
}


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A broker that can be ill-treated."""
    with breakable_valkey(tmp_path / "valkey") as one:
        yield one


@pytest.fixture
def valkey_url(valkey: Valkey) -> str:
    """The crowd's is that one."""
    return valkey.url


@pytest.mark.large
@on_postgresql
@pytest.mark.parametrize("deed", DEEDS)
@every_seed
def test_while_work_is_done(ordeal: Ordeal, valkey: Valkey, deed: str, seed: int) -> None:
    """The work goes on meanwhile and afterwards, and no call becomes unknown."""
    begin, end = DEEDS[deed]
    batch = ordeal.begin()
    ordeal.endure(
        two_outages(seed, lambda: begin(valkey), lambda: end(valkey), lasts_s=(0.5, 3.0)), within_s=PATIENCE_S
    )
    proof = ordeal.prove(batch)
    print(f"\nbroker {deed}, seed {seed}: {proof}")
    assert not proof.unknown


@pytest.mark.large
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@every_seed
def test_an_embedded_one(provider: Sandbox, tmp_path: Path, number: signal.Signals, seed: int) -> None:
    """Killed, it is started again by whoever owns it; standing still, it is missed by nobody who has work."""
    with home(tmp_path, workers=2) as embedded:
        ordeal = Ordeal(embedded, provider, tmp_path, seed)
        batch = ordeal.begin()

        def send(what: signal.Signals) -> None:
            for pid in embedded.mill.brokers():
                os.kill(pid, what)

        ahead = two_outages(seed, lambda: send(number), lambda: send(signal.SIGCONT), lasts_s=(0.5, 3.0))
        ordeal.endure(ahead, within_s=PATIENCE_S)
        proof = ordeal.prove(batch)
    print(f"\nembedded broker, {number.name}, seed {seed}: {proof}")
    assert not proof.unknown


@on_postgresql
@pytest.mark.parametrize(
    ("deed", "within_s"),
    [
        ("flushed", RING_S + SWEEP_S + AT_ONCE_S),
        pytest.param("killed", RING_S + SWEEP_S + RECONNECT_S + AT_ONCE_S, marks=pytest.mark.large),
    ],
)
@every_seed
def test_what_was_rung_is_lost(
    ordeal: Ordeal, crowd: Machines, valkey: Valkey, deed: str, within_s: float, seed: int
) -> None:
    """Workers that have nothing to do are told within one sweep of work whose doorbell was lost (design, §10.9)."""
    crowd.mill.environ |= {"BATCHMILL_BEAT_S": str(RING_S), "BATCHMILL_AT_SWEEP": f"every {SWEEP_S}s"}
    crowd.mill.environ["OPENAI_BASE_URL"] = ordeal.provider.url
    workers = [machine.start("worker") for machine in crowd.machines]
    crowd.mill.start("worker", "--maintenance")
    crowd.mill.start("beat")
    wait_until(lambda: valkey.listeners() == len(workers) + 1, PATIENCE_S)
    stopped = [pid for machine in crowd.machines for pid in machine.processes()]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: valkey.listeners() == 1, PATIENCE_S)  # theirs have run out
    batch = ordeal.begin()
    assert valkey.messages(Lane.NORMAL)
    time.sleep(random.Random(seed).uniform(0.0, RING_S))  # beat has just rung, or is about to
    DEEDS[deed][0](valkey)
    DEEDS[deed][1](valkey)
    begun = time.monotonic()
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: bool(ordeal.provider.calls()), PATIENCE_S)
    took_s = time.monotonic() - begun
    print(f"\nbroker {deed}, seed {seed}: the first call after {took_s:.1f} s")
    assert took_s < within_s
    ordeal.endure([], within_s=PATIENCE_S)
    ordeal.prove(batch)
