"""What every test may ask for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mill import Mill


@pytest.fixture
def mill(tmp_path: Path) -> Iterator[Mill]:
    """An installation of its own, embedded; nothing of it is left running."""
    installed = Mill(folder=tmp_path)
    yield installed
    installed.kill_everything()
