"""`python -m benchmarks`: measure, show, write down."""

import json
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.figures import AtLeast, AtMost, Figure, Part, Samples, figures_of
from benchmarks.machine import describe
from benchmarks.page import Outcome
from benchmarks.parts import (
    answering,
    budgets,
    cleanup,
    client,
    direct,
    intake,
    limits,
    memory,
    quota,
    quoting,
    rivals,
    service,
    utilisation,
)
from benchmarks.profile import explain
from benchmarks.sizes import FULL, QUICK
from benchmarks.stage import Stage
from cli.output import narrate, print_table

Measure = Callable[[Stage, set[Part]], Iterator[tuple[Part, Samples]]]

EVERY_ROUND: Sequence[tuple[set[Part], Measure]] = (
    ({Part.UNIQUE, Part.CACHED}, answering.run),
    ({Part.BUDGETS}, budgets.run),
    ({Part.INGEST}, intake.run),
    ({Part.QUOTE}, quoting.run),
    ({Part.CLIENT}, client.run),
    ({Part.LIMITS}, limits.run),
    ({Part.RIVALS}, rivals.run),
)
ONCE: Sequence[tuple[set[Part], Measure]] = (
    ({Part.UTILISATION}, utilisation.run),
    ({Part.MEMORY}, memory.run),
    ({Part.QUOTA}, quota.run),
    ({Part.SERVICE}, service.run),
    ({Part.DIRECT}, direct.run),
    ({Part.CLEANUP}, cleanup.run),
)
TARGETS: Mapping[Part, Mapping[str, AtLeast | AtMost]] = {
    Part.UNIQUE: answering.UNIQUE_TARGETS,
    Part.CACHED: answering.CACHED_TARGETS,
    Part.BUDGETS: budgets.TARGETS,
    Part.INGEST: intake.TARGETS,
    Part.QUOTE: quoting.TARGETS,
    Part.CLIENT: client.TARGETS,
    Part.LIMITS: limits.TARGETS,
    Part.QUOTA: quota.TARGETS,
    Part.MEMORY: memory.TARGETS,
    Part.UTILISATION: utilisation.TARGETS,
    Part.SERVICE: service.TARGETS,
    Part.DIRECT: direct.TARGETS,
    Part.CLEANUP: cleanup.TARGETS,
    Part.RIVALS: {},
}


@click.command()
@click.option("--only", help=f"Parts to measure, comma between: {', '.join(Part)}.")
@click.option(
    "--quick", is_flag=True, help="Small sizes, once: shows that it runs, says nothing about speed."
)
@click.option("--rounds", type=click.IntRange(1), help="How often the short parts are measured.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the figures there.")
@click.option("--page", "page_path", type=click.Path(path_type=Path), help="Write the page there.")
def main(
    only: str | None, quick: bool, rounds: int | None, json_path: Path | None, page_path: Path | None
) -> None:
    """Measure batchmill on this machine; missed targets are told, and no reason to fail."""
    wanted = _parts(only)
    sizes = QUICK if quick else FULL
    machine = describe()
    folder = Path(tempfile.mkdtemp(prefix="batchmill-bench-"))
    stage = Stage(folder, replace(sizes, rounds=rounds or sizes.rounds))
    try:
        figures = _measure(stage, wanted)
        profiles = [] if quick else explain(stage, figures)
    finally:
        stage.close()
        shutil.rmtree(folder, ignore_errors=True)
    outcome = Outcome(
        machine=machine,
        sizes=stage.sizes,
        is_quick=quick,
        figures=tuple(figures),
        profiles=tuple(profiles),
    )
    print_table(outcome.as_table())
    if json_path:
        json_path.write_text(json.dumps(outcome.as_json(), indent=2) + "\n", encoding="utf-8")
    if page_path:
        page_path.write_text(outcome.as_page(), encoding="utf-8")


def _parts(only: str | None) -> set[Part]:
    try:
        return {Part(name.strip()) for name in only.split(",")} if only else set(Part)
    except ValueError as error:
        raise click.BadParameter(f"{error}; parts are {', '.join(Part)}", param_hint="--only") from None


def _measure(stage: Stage, wanted: set[Part]) -> list[Figure]:
    """In turn, so that whatever else the machine does meets all alike."""
    samples: dict[Part, list[dict[str, float]]] = defaultdict(list)
    for nth in range(stage.sizes.rounds):
        found: dict[Part, dict[str, float]] = defaultdict(dict)
        for parts, measure in [*EVERY_ROUND, *(ONCE if nth == 0 else ())]:
            if parts & wanted:
                begun = time.monotonic()
                for part, values in measure(stage, wanted):
                    found[part] |= values
                narrate(
                    f"round {nth + 1}: {', '.join(sorted(parts & wanted))}: {time.monotonic() - begun:.0f} s"
                )
        for part, whole in found.items():
            samples[part].append(whole)
    figures = [figure for part in Part for figure in figures_of(part, samples[part], TARGETS[part])]
    return figures + rivals.ratios(figures)


if __name__ == "__main__":
    main()
