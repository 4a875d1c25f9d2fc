"""The doorbell without a broker."""

import pytest

from batchmill.errors import BrokerError, StoppedError
from workers.app import make_app
from workers.doorbell import Doorbell

NOBODY = "redis://127.0.0.1:9/0"


def test_a_signal_is_no_fault_of_the_broker() -> None:
    """What a signal raises while the broker is waited for comes through as what it is."""
    doorbell = Doorbell(make_app(NOBODY))
    with pytest.raises(StoppedError), doorbell._reaching():
        raise StoppedError("stopped at once")


def test_nobody_there() -> None:
    """A broker that is away is told by its address, with what to check."""
    with pytest.raises(BrokerError, match="cannot be reached") as away:
        Doorbell(make_app(NOBODY)).waiting("normal")
    assert "127.0.0.1:9" in away.value.message
    assert "BROKER_URL" in away.value.hint
