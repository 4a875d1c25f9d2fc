"""The benchmark runs: every part gives its figures. How good they are is not for a test to say."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import Part
from benchmarks.peers.roster import PEERS
from benchmarks.words import WORDS
from tests.support.mill import wait_until

ROOT = Path(__file__).parents[2]
ALWAYS = [Part.PEERS, Part.UNIQUE, Part.CACHED, Part.INGEST, Part.CLIENT, Part.LIMITS]
AT_LENGTH = [part for part in Part if part not in ALWAYS]


COMMAND = (sys.executable, "-m", "benchmarks")


def bench(*arguments: str, timeout_s: float = 60) -> "subprocess.CompletedProcess[str]":
    """The command."""
    return subprocess.run(
        [*COMMAND, *arguments],
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


def test_what_is_measured_is_kept_when_it_is_broken_off(tmp_path: Path) -> None:
    """A part is on the page as soon as it is complete; Ctrl-C leaves nothing of the stage."""
    arguments = ("--quick", "--only", f"{Part.INGEST},{Part.CLIENT}", "--docs", str(tmp_path))
    with tempfile.TemporaryDirectory() as temporary:  # pytest's is too long for a server's socket
        environ = {**os.environ, "TMPDIR": temporary}
        with subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, env=environ, stderr=subprocess.PIPE) as run:
            try:
                wait_until((tmp_path / "benchmarks.md").exists, 90)
                run.send_signal(signal.SIGINT)
                _, said = run.communicate(timeout=20)
            finally:
                run.kill()
        assert run.returncode == 1, said
        assert b"Traceback" not in said
        assert list(Path(temporary).glob("batchmill-*")) == []
    assert list(json.loads((tmp_path / "benchmarks.json").read_text())["parts"]) == [Part.INGEST]
    assert f"### {WORDS[Part.INGEST][0]}" in (tmp_path / "benchmarks.md").read_text()


def test_an_unknown_part_is_refused() -> None:
    """Misuse is told with what there is, before anything is started."""
    done = bench("--only", "speed")
    assert done.returncode == 2
    assert "unique" in done.stderr
