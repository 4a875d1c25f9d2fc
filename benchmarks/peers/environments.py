"""An environment for each peer: made once from its pinned requirements, and kept in `.peers`."""

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.roster import PEERS, Environment, Peer
from cli.output import narrate

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".peers"
REQUIREMENTS = Path(__file__).parent / "requirements"
LONGEST_S = 900.0
SAID = 300
"""So many characters of why an environment could not be made are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pythons:
    """Which Python runs a peer.

    Attributes:
        by_environment: Those that there are.
        missing: Why there is none, for the others.
    """

    by_environment: Mapping[Environment, Path] = field(default_factory=dict)
    missing: Mapping[Environment, str] = field(default_factory=dict)

    def present(self, peers: Sequence[Peer]) -> list[Peer]:
        """The peers that can be run."""
        return [peer for peer in peers if peer.environment in self.by_environment]

    def absent(self) -> Mapping[str, str]:
        """Why each of the others is not measured, by its name."""
        return {
            peer.name: self.missing[peer.environment] for peer in PEERS if peer.environment in self.missing
        }

    def versions(self) -> Mapping[str, str]:
        """Of each peer's package, by the peer's name."""
        return {peer.name: _version(self.of(peer), peer.package) for peer in self.present(PEERS)}

    def of(self, peer: Peer) -> Path:
        """The Python of a peer that is present."""
        return self.by_environment[peer.environment]


def own() -> Pythons:
    """This project's own environment, for the peers that it has all of."""
    return Pythons(
        by_environment={name: Path(sys.executable) for name in Environment if name.is_in_ours},
        missing={
            name: "left out: it needs an environment of its own"
            for name in Environment
            if not name.is_in_ours
        },
    )


def make() -> Pythons:
    """Make what is not there yet; what cannot be made is told, and no reason to stop."""
    found: dict[Environment, Path] = {}
    missing: dict[Environment, str] = {}
    for name in Environment:
        try:
            found[name] = _made(name)
        except (subprocess.SubprocessError, OSError) as error:
            missing[name] = f"could not be installed: {_reason(error)}"
            narrate(f"{name}: {missing[name]}")
    return Pythons(by_environment=found, missing=missing)


def _made(name: Environment) -> Path:
    requirements = REQUIREMENTS / f"{name}.txt"
    stamp = FOLDER / name / f"made-from-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]}"
    python = FOLDER / name / "bin" / "python"
    if not stamp.exists():
        narrate(f"setting up {FOLDER.name}/{name} (once)")
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        venv.create(FOLDER / name, with_pip=True)
        # Every package is in the list, and pip wants extras pinned apart where hashes are asked for: no dependencies.
        options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes")
        subprocess.run(
            [python, "-m", "pip", "install", *options, "-r", requirements],
            check=True,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
        stamp.touch()
    return python


def _reason(error: Exception) -> str:
    """The last of what pip said, without the names of this machine's folders."""
    if isinstance(error, subprocess.CalledProcessError):
        errors = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
        return " ".join(errors or ["pip failed"]).replace(str(ROOT), "")[:SAID]
    return type(error).__name__


def _version(python: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()
