"""Failpoints: what is said of them, and what they do to a process."""

import subprocess
import sys
from pathlib import Path

import pytest

from batchmill.errors import SettingsError
from batchmill.failpoints import EXIT_STATUS, Failpoint, parse
from batchmill.settings import load_settings

MEETS = (
    "from batchmill import failpoints as f; f.arm({!r});"
    " [f.reached(f.Failpoint.IN_SETTLE) for _ in range(2)]; print('on')"
)


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ("in-settle", EXIT_STATUS, ""),
        ("in-settle:2", EXIT_STATUS, ""),
        ("in-settle:3", 0, "on\n"),
        ("in-sweep", 0, "on\n"),
        (None, 0, "on\n"),
    ],
)
def test_the_process_ends_there_the_nth_time(text: str | None, status: int, says: str) -> None:
    """At that point, that time, and nowhere else."""
    done = subprocess.run(
        [sys.executable, "-c", MEETS.format(text)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (status, says)
    assert ("failpoint in-settle: exit" in done.stderr) == (status == EXIT_STATUS)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("nowhere", "no failpoint nowhere"),
        ("in-settle:0", "from 1 on"),
        ("in-settle:two", "from 1 on"),
        ("in-settle:1:jump", "stop or nothing"),
    ],
)
def test_what_names_none_is_refused(text: str, fault: str) -> None:
    """A failpoint that is misspelt would show that all is well."""
    with pytest.raises(ValueError, match=fault):
        parse(text)
    with pytest.raises(SettingsError, match=f"BATCHMILL_FAILPOINT.*{fault}"):
        load_settings({"BATCHMILL_FAILPOINT": text}, None)


def test_every_point_is_somewhere_in_the_code() -> None:
    """None that nothing meets: each is reached in one module or more, by its name."""
    root = Path(__file__).parents[2]
    code = "\n".join(
        path.read_text()
        for package in ("batchmill", "db", "workers")
        for path in (root / package).rglob("*.py")
    )
    assert [point for point in Failpoint if f"reached(Failpoint.{point.name})" not in code] == []
