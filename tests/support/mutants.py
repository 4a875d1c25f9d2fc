"""Mutants: copies of the product that are broken on purpose, and the chaos tests run on them, which have to fail.

A copy has the tests, too. Both they and the commands that they start run its code: it comes first on PYTHONPATH, and
the installed command goes by that.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("api", "batchmill", "cli", "db", "schedules", "tasks", "workers", "tests", "pyproject.toml")
WITHIN_S = 150.0
PATIENCE_S = "60"
"""How long a chaos test waits for what a mutant does not do any more."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to one file: a text that is there once, and what stands there instead."""

    file: str
    old: str
    new: str

    def made(self, tree: Path = ROOT) -> str:
        """The file as it is to be.

        Raises:
            AssertionError: The text is not there once: the code has changed, and the edit has to follow.
        """
        text = (tree / self.file).read_text()
        times = text.count(self.old)
        assert times == 1, f"{self.file} has this {times} times, and not once:\n{self.old}"
        return text.replace(self.old, self.new)

    def apply(self, tree: Path) -> None:
        """Make it in a copy."""
        text = self.made(tree)
        (tree / self.file).unlink()  # it may be the original under a second name
        (tree / self.file).write_text(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One way of being broken.

    Attributes:
        name: What is broken.
        edits: All of them together; several where more than one part of the product watches over the same promise.
        scenario: The test that has to fail, `{dialect}` standing for the database.
        found_by: How what it says has to begin: one of these, as more than one may be broken at that moment.
        dialects: The databases it is tried on.
    """

    name: str
    edits: Sequence[Edit]
    scenario: str
    found_by: Sequence[str]
    dialects: Sequence[str] = ("sqlite",)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Ran:
    """How a test went in a copy.

    Attributes:
        status: Pytest's own: 0 = it passed, 1 = it failed.
        errors: What went wrong, by its first lines.
    """

    status: int
    errors: Sequence[str]
    said: str


def copy_tree(tree: Path, edits: Sequence[Edit] = ()) -> Path:
    """Copy the product and its tests, and make some changes; what is compiled already goes along."""
    tree.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, copy_function=_link)
        else:
            _link(ROOT / name, tree / name)
    for edit in edits:
        edit.apply(tree)
    return tree


def environment_of(tree: Path) -> dict[str, str]:
    """What runs in a copy sees: its code first, and nothing of the tests that run it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return inherited | {"PYTHONPATH": str(tree)}


def run_test(tree: Path, test: str, environ: Mapping[str, str]) -> Ran:
    """Run one test in a copy."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--tb=short",
            "-m",
            "",
            f"--timeout={WITHIN_S}",
            test,
        ],
        cwd=tree,
        env=environment_of(tree) | {"CHAOS_PATIENCE_S": PATIENCE_S} | dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said, _ = process.communicate(timeout=WITHIN_S + 20)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it has processes of its own to end
        said, _ = process.communicate(timeout=30)
    errors = [line.removeprefix("E ").strip() for line in said.splitlines() if line.startswith("E ")]
    return Ran(process.returncode, errors, said)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
