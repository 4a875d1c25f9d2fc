"""The queues: by lane what there is to do, what is being done, and how many doorbells lie about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from batchmill.errors import BrokerError
from batchmill.requests.model import Lane
from batchmill.settings import Settings
from db import gauges
from db.engine import Database, Transaction
from workers.app import make_app
from workers.broker import EmbeddedBroker
from workers.doorbell import Doorbell
from workers.roll import Roll, call_roll


@dataclass(slots=True, kw_only=True)
class LaneLoad:
    """What is in a lane.

    Attributes:
        batches: Those that have not ended, by state.
        pending: Requests without an answer that nobody is asked right now.
        in_flight: Those whose call is out.
    """

    batches: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """All lanes.

    Attributes:
        doorbells: By lane; None = the broker cannot be reached, or is not running.
    """

    lanes: Mapping[Lane, LaneLoad]
    doorbells: Mapping[Lane, int] | None
    roll: Roll


def lane_loads(tx: Transaction) -> dict[Lane, LaneLoad]:
    """What is in each lane, as of now."""
    loads = {lane: LaneLoad() for lane in Lane}
    for row in gauges.open_batches(tx):
        load = loads[Lane(row.lane)]
        if row.batches:
            load.batches[row.state] = int(row.batches)
        load.pending += int(row.requests)
    for lane, calls in gauges.in_flight(tx).items():
        load = loads[Lane(lane)]
        load.in_flight = calls
        load.pending = max(0, load.pending - calls)
    return loads


def queues(database: Database, settings: Settings) -> Queues:
    """What is in each lane, and who is there to do it."""
    with database.snapshot() as tx:
        lanes = lane_loads(tx)
    return Queues(lanes=lanes, doorbells=_doorbells(settings), roll=call_roll(settings, database))


def view(found: Queues) -> dict[str, Any]:
    """The queues as JSON shows them."""
    roll = found.roll
    return {
        "lanes": [
            {
                "lane": lane.value,
                "batches": load.batches,
                "pending": load.pending,
                "in_flight": load.in_flight,
                "doorbells": None if found.doorbells is None else found.doorbells[lane],
            }
            for lane, load in found.lanes.items()
        ],
        "broker": "away" if found.doorbells is None else "reachable",
        "workers": {"alive": roll.alive, "dead": len(roll.dead), "elsewhere": roll.elsewhere},
    }


def _doorbells(settings: Settings) -> dict[Lane, int] | None:
    url = settings.broker.url
    if url is None:
        embedded = EmbeddedBroker(settings.home)
        if not embedded.answers():
            return None
        url = embedded.url
    doorbell = Doorbell(make_app(url))
    try:
        return {lane: doorbell.waiting(lane) for lane in Lane}
    except BrokerError:
        return None
