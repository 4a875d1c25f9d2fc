"""Broken on purpose, the product fails the chaos tests, for the reason that it should: a checker that cannot fail is
found out here.

`make chaos` tries every mutant, and every scenario on the product as it is; `make test` one mutant.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.mutations import IN_SHORT, MUTANTS
from tests.support.mill import BATCHMILL
from tests.support.mutants import Edit, Mutant, copy_tree, environment_of, run_test

SIZES = {"CHAOS_LINES": "60", "CHAOS_BATCHES": "10", "SEEDS": "1"}
TRIED = [
    pytest.param(mutant, dialect, marks=() if IN_SHORT.get(mutant.name) == dialect else pytest.mark.large)
    for mutant in MUTANTS
    for dialect in mutant.dialects
]
SCENARIOS = sorted(
    {mutant.scenario.format(dialect=dialect) for mutant in MUTANTS for dialect in mutant.dialects}
)


@pytest.mark.parametrize(("mutant", "dialect"), TRIED, ids=str)
@pytest.mark.timeout(240)
def test_a_mutant_is_found(mutant: Mutant, dialect: str, tmp_path: Path) -> None:
    """Its scenario fails, and says which promise is broken."""
    tree = copy_tree(tmp_path / "tree", mutant.edits)
    ran = run_test(tree, mutant.scenario.format(dialect=dialect), SIZES)
    assert ran.status == 1, f"it lives: {ran.said[-4000:]}"
    errors = [error.removeprefix("AssertionError: ") for error in ran.errors]
    assert any(error.startswith(tuple(mutant.found_by)) for error in errors), ran.said[-4000:]


@pytest.mark.large
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.timeout(240)
def test_as_it_is(scenario: str, tmp_path: Path) -> None:
    """Unchanged, the product passes what its mutants fail."""
    ran = run_test(copy_tree(tmp_path / "tree"), scenario, SIZES)
    assert ran.status == 0, ran.said[-4000:]


def test_a_copy_is_what_runs(tmp_path: Path) -> None:
    """In a copy both the tests and the installed command run the copy's code."""
    edit = Edit("cli/main.py", "import sys\n", 'import sys\n\nprint("mutated")\n')
    tree = copy_tree(tmp_path / "tree", [edit])
    for command in ([sys.executable, "-c", "import cli.main"], [BATCHMILL, "--version"]):
        done = subprocess.run(
            command, cwd=tree, env=environment_of(tree), capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("mutated\n")


def test_an_edit_that_no_longer_fits() -> None:
    """Where the code has moved on, that is told: a mutant must not come to be the product."""
    with pytest.raises(AssertionError, match="has this 0 times, and not once"):
        Edit("db/settle.py", "no such line", "").made()


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_every_mutant_can_be_made(mutant: Mutant) -> None:
    """What it changes is there, also of those that are not tried now, and is still Python afterwards."""
    for edit in mutant.edits:
        compile(edit.made(), edit.file, "exec")
