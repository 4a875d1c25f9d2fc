"""A planted key: one that every command of the tests is given, and that must be found nowhere afterwards."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

KEY = f"planted-{secrets.token_hex(24)}"
"""This process's own; under xdist each worker has another."""

ENVIRON = {"OPENAI_API_KEY": KEY, "LOCAL_API_KEY": KEY}
"""What commands get that are given no key of their own. The other providers get none: with a key alone, their real
addresses could be called."""

MOST_BYTES = 2_000_000_000
"""How much is searched at the end of a session: seconds, not minutes."""

_CHUNK_BYTES = 1 << 20

_told: list[str] = []


@pytest.fixture(scope="session", autouse=True)
def planted_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No file that the tests of this process have made, and nothing that they have said, holds the planted key."""
    before = {name: os.environ.get(name) for name in ENVIRON}
    os.environ.update(ENVIRON)
    yield
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    found = files_holding(tmp_path_factory.getbasetemp(), [KEY], most_bytes=MOST_BYTES)
    told = [*map(str, found), *_told]
    assert not told, f"the planted key was let out: {', '.join(told)}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a test whose captured output or log holds the planted key."""
    if any(KEY in text for _, text in report.sections):
        _told.append(f"what {report.nodeid} has said")


def halves(key: str) -> list[str]:
    """The halves of a key: where neither is, the whole is not either."""
    middle = len(key) // 2
    return [key[:middle], key[middle:]]


def files_holding(
    folder: Path, needles: Iterable[str], *, apart_from: Iterable[Path] = (), most_bytes: int | None = None
) -> list[Path]:
    """The files below a folder that hold one of these, or are named after one; what cannot be read is passed over.

    Args:
        apart_from: Files that may.
        most_bytes: So much is searched, the smaller files first; None for all of it.
    """
    wanted, spared = [needle.encode() for needle in needles], set(apart_from)
    left = float("inf") if most_bytes is None else most_bytes
    found = []
    for size, path in sorted(_files(folder)):
        left -= size
        if left < 0:
            break
        with suppress(OSError):
            if path not in spared and (_is_named(path, wanted) or _holds(path, wanted)):
                found.append(path)
    return found


def _files(folder: Path) -> Iterator[tuple[int, Path]]:
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            with suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    yield path.stat().st_size, path


def _is_named(path: Path, needles: list[bytes]) -> bool:
    return any(needle in os.fsencode(path) for needle in needles)


def _holds(path: Path, needles: list[bytes]) -> bool:
    overlap = max(map(len, needles)) - 1
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if any(needle in tail + chunk for needle in needles):
                return True
            tail = chunk[-overlap:]
    return False
