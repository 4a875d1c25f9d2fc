"""What the suite over the providers asks for."""

from collections.abc import Iterator

import pytest

from batchmill.sandbox.app import Behaviour
from batchmill.sandbox.limits import Allowance, LimitRules
from tests.support.ways import WAYS, Stage, Way

LIMITED = {f"limited-{name}": 2 for name in WAYS}
"""Models of which so many requests a minute are let through: each way has its own."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One sandbox, and the providers that call it."""
    stage = Stage(Behaviour(drip_s=0.1, limits=LimitRules(rpm=Allowance(of_model=LIMITED))))
    yield stage
    stage.close()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    """Each way to call."""
    return WAYS[request.param]
