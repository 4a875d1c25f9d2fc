"""What acceptance tests may ask for."""

from collections.abc import Iterator

import pytest

from tests.support.openai_service import Hosted, hosted


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A service with a sandbox behind it, one for all tests of this process: tell what is yours by its id."""
    with hosted(tmp_path_factory.mktemp("service")) as running:
        yield running
