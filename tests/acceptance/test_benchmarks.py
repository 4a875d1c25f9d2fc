"""The benchmark runs: every part gives its figures. How good they are is not for a test to say."""

import json
import math
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import Part
from benchmarks.peers.roster import PEERS
from benchmarks.words import WORDS

ROOT = Path(__file__).parents[2]
ALWAYS = [Part.PEERS, Part.UNIQUE, Part.CACHED, Part.INGEST, Part.CLIENT, Part.LIMITS]
AT_LENGTH = [part for part in Part if part not in ALWAYS]


def bench(*arguments: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
    """The command."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("wanted", "targets"), [(ALWAYS, 8), pytest.param(AT_LENGTH, 19, marks=pytest.mark.large)]
)
def test_every_part_gives_its_figures(tmp_path: Path, wanted: Sequence[Part], targets: int) -> None:
    """A quick round, with the peers that need no environment of their own: exit 0 whatever is missed, a figure for
    each target, a page without a host's name."""
    parts_wanted = ("--only", ",".join(wanted))
    done = bench("--quick", "--own-venv", *parts_wanted, "--docs", str(tmp_path), timeout_s=580)
    assert done.returncode == 0, done.stderr
    parts: dict[str, Any] = json.loads((tmp_path / "benchmarks.json").read_text())["parts"]
    assert list(parts) == wanted
    assert all(part["figures"] for part in parts.values())
    figures = [figure for part in parts.values() for figure in part["figures"]]
    assert all(math.isfinite(figure["value"]) for figure in figures)
    judged = [figure for figure in figures if figure["target"]]
    assert len(judged) == targets
    assert all(figure["met"] in (True, False) for figure in judged)
    left_out = {peer.name for peer in PEERS if not peer.environment.is_in_ours}
    failed = {name for part in parts.values() for name in part["absent"]} - left_out
    assert not failed, done.stderr
    page = (tmp_path / "benchmarks.md").read_text()
    assert all(f"### {WORDS[part][0]}" in page for part in wanted)
    assert "says nothing about speed" in page
    assert str(ROOT) not in page
    assert socket.gethostname() not in page
    assert len(done.stdout.splitlines()) == len(figures) + 1


def test_an_unknown_part_is_refused() -> None:
    """Misuse is told with what there is, before anything is started."""
    done = bench("--only", "speed")
    assert done.returncode == 2
    assert "unique" in done.stderr
