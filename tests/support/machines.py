"""State machines of Hypothesis, let loose on both databases; `PROOF=10` tries ten times as many runs as CI does."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine

from tests.support.servers import PostgresCluster

PROOF = int(os.environ.get("PROOF", "1"))
TIMEOUT_S = 120 + 120 * PROOF

Fresh = Callable[[], tuple[str, Callable[[], object]]]
"""Makes a database of its own for a run: its URL, and how to get rid of it."""


def on_sqlite(template: Path) -> Fresh:
    """Copies of an empty database."""

    def fresh() -> tuple[str, Callable[[], object]]:
        folder = Path(tempfile.mkdtemp(prefix="batchmill-machine-"))
        shutil.copy(template, folder / "db")
        return f"sqlite:///{folder / 'db'}", lambda: shutil.rmtree(folder)

    return fresh


def on_postgresql(cluster: PostgresCluster) -> Fresh:
    """Databases of a server."""

    def fresh() -> tuple[str, Callable[[], object]]:
        url = cluster.create()
        return url, lambda: cluster.drop(url)

    return fresh


def let_loose(machine: type[RuleBasedStateMachine], fresh: Fresh, *, runs: int, steps: int) -> None:
    """Run a machine so many times on databases made by `fresh`, which it finds under that name."""
    placed: Any = type(f"{machine.__name__}OnOneDatabase", (machine,), {"fresh": staticmethod(fresh)})
    placed.TestCase.settings = settings(
        max_examples=runs * PROOF,
        stateful_step_count=steps,
        database=None,
        # Shrinking a long run takes minutes: in CI the first failure as it is found will do.
        phases=[Phase.generate, Phase.shrink] if PROOF > 1 else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    placed.TestCase("runTest").runTest()
