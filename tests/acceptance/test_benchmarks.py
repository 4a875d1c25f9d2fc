"""The benchmark runs: every part gives its figures. How good they are is not for a test to say."""

import json
import math
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import Part
from benchmarks.page import WORDS

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_every_part_gives_its_figures(tmp_path: Path) -> None:
    """A quick round of all of it: exit 0 whatever is missed, a figure for each target, a page without a host's name."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--quick"),
            *("--json", str(tmp_path / "figures.json"), "--page", str(tmp_path / "page.md")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "figures.json").read_text())
    assert {figure["part"] for figure in found["figures"]} == set(Part)
    assert all(math.isfinite(figure["value"]) for figure in found["figures"])
    judged = [figure for figure in found["figures"] if figure["target"]]
    assert len(judged) == 27
    assert all(figure["met"] in (True, False) for figure in judged)
    page = (tmp_path / "page.md").read_text()
    assert all(f"## {title}" in page for title, _ in WORDS.values())
    assert "says nothing about speed" in page
    assert str(ROOT) not in page
    assert socket.gethostname() not in page
    assert len(done.stdout.splitlines()) == len(found["figures"]) + 1


def test_an_unknown_part_is_refused() -> None:
    """Misuse is told with what there is, before anything is started."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "speed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "unique" in done.stderr
