"""What every test may ask for."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from batchmill.settings import Settings, load_settings
from db import schema
from db.engine import Database
from tests.support.clocks import FakeClock
from tests.support.compiled import share_compiled
from tests.support.mill import Mill, heed_signals
from tests.support.planted import planted_key, pytest_runtest_logreport
from tests.support.servers import PostgresCluster, postgres_cluster, valkey_server

__all__ = ["planted_key", "pytest_runtest_logreport"]

# A slow machine fails no test: how long an example takes says nothing about what is right.
settings.register_profile("batchmill", deadline=None)
settings.load_profile("batchmill")

share_compiled()


@pytest.fixture(autouse=True)
def signals() -> None:
    """Commands can be interrupted."""
    heed_signals()


def log_plainly() -> None:
    """Events as structlog prints them, yet tracebacks without the value of every variable: those can take minutes."""
    structlog.reset_defaults()
    *processors, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*processors, plain])


log_plainly()


@pytest.fixture(autouse=True)
def forget_logs() -> Iterator[None]:
    """A command that ran in this process sends no later test's events to the standard error it had."""
    yield
    log_plainly()


@pytest.fixture
def make_mill() -> Iterator[Callable[[Path], Mill]]:
    """Makes an installation in a folder, embedded; nothing of it is left running."""
    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(closing(Mill(folder=folder)))


@pytest.fixture
def mill(make_mill: Callable[[Path], Mill], tmp_path: Path) -> Mill:
    """An installation of its own."""
    return make_mill(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def everywhere(request: pytest.FixtureRequest, mill: Mill) -> Iterator[Mill]:
    """An installation on an embedded database, and one on a shared PostgreSQL."""
    if request.param == "sqlite":
        yield mill
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    mill.environ["DATABASE_URL"] = url = cluster.create()
    yield mill
    mill.kill_everything()
    cluster.drop(url)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A real PostgreSQL, one for all tests of this process."""
    with postgres_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey, one for all tests of this process."""
    with valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file of our schema, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    database = Database(f"sqlite:///{path}")
    schema.upgrade(database)
    database.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Which database the test runs on; it runs on both."""
    name: str = request.param
    return name


@pytest.fixture
def database_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own, of our schema."""
    if dialect == "sqlite":
        path = tmp_path / "batchmill.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    url = cluster.create()
    yield url
    cluster.drop(url)


@pytest.fixture
def empty_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of the test's own, with nothing in it."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    url = cluster.create(empty=True)
    yield url
    cluster.drop(url)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Those of a command on that database."""
    return load_settings({"DATABASE_URL": database_url, "BATCHMILL_HOME": str(tmp_path / "home")}, None)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when told to."""
    return FakeClock()


@pytest.fixture
def database(database_url: str, clock: FakeClock) -> Iterator[Database]:
    """That database, opened, going by the test's clock."""
    opened = Database(database_url, clock=clock)
    yield opened
    opened.close()
