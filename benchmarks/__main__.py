"""`python -m benchmarks`: measure, show, write down."""

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

import click

from benchmarks.charts import write_charts
from benchmarks.document import Document, Measurement
from benchmarks.figures import AtLeast, AtMost, Figure, Part, Samples, figures_of, table_of
from benchmarks.machine import describe
from benchmarks.page import page
from benchmarks.parts import (
    answering,
    beside,
    budgets,
    cleanup,
    client,
    direct,
    intake,
    lanes,
    limits,
    memory,
    quota,
    quota_beside,
    quoting,
    service,
    utilisation,
    utilisation_beside,
)
from benchmarks.peers import environments
from benchmarks.peers.environments import Pythons
from benchmarks.profile import explain
from benchmarks.readme import write_readme
from benchmarks.sizes import FULL, QUICK, Sizes
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
    ({Part.PEERS, Part.PEERS_CACHED}, beside.run),
)
ONCE: Sequence[tuple[set[Part], Measure]] = (
    ({Part.UTILISATION}, utilisation.run),
    ({Part.QUOTA}, quota.run),
    ({Part.SERVICE}, service.run),
    ({Part.DIRECT}, direct.run),
    ({Part.CLEANUP}, cleanup.run),
    ({Part.PEERS_SLOW}, utilisation_beside.run),
    ({Part.PEERS_QUOTA}, quota_beside.run),
    ({Part.LANES}, lanes.run),
    ({Part.MEMORY, Part.COST}, memory.run),
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
    Part.UTILISATION: utilisation.TARGETS,
    Part.SERVICE: service.TARGETS,
    Part.DIRECT: direct.TARGETS,
    Part.CLEANUP: cleanup.TARGETS,
    Part.PEERS: beside.TARGETS,
    Part.PEERS_CACHED: beside.CACHED_TARGETS,
    Part.PEERS_SLOW: utilisation_beside.TARGETS,
    Part.PEERS_QUOTA: {},
    Part.LANES: lanes.TARGETS,
    Part.MEMORY: memory.MEMORY_TARGETS,
    Part.COST: memory.COST_TARGETS,
}
DOCUMENT, PAGE, CHARTS = "benchmarks.json", "benchmarks.md", "benchmarks"


@click.command()
@click.option("--only", help=f"Parts to measure, comma between: {', '.join(Part)}.")
@click.option("--peers", is_flag=True, help="The parts that have others beside ours, instead of ours alone.")
@click.option("--own-venv", is_flag=True, help="Only the peers that this project's own environment can run.")
@click.option(
    "--quick", is_flag=True, help="Small sizes, once: shows that it runs, says nothing about speed."
)
@click.option("--rounds", type=click.IntRange(1), help="How often the short parts are measured.")
@click.option("--docs", type=click.Path(path_type=Path), help="Folder of figures, page and charts to update.")
@click.option("--readme", type=click.Path(path_type=Path), help="README whose figures are to be updated.")
@click.option("--render", is_flag=True, help="Measure nothing: write page and charts from the figures there.")
def main(
    only: str | None,
    peers: bool,
    own_venv: bool,
    quick: bool,
    rounds: int | None,
    docs: Path | None,
    readme: Path | None,
    render: bool,
) -> None:
    """Measure batchmill on this machine; missed targets are told, and no reason to fail."""
    if render:
        if docs:
            _write(Document(), docs, readme)
        return
    wanted = _parts(only) if only else {part for part in Part if part.is_beside is peers}
    sizes = QUICK if quick else FULL
    pythons = Pythons()
    if any(part.is_beside for part in wanted):
        pythons = environments.own() if own_venv else environments.make()
    measured = Document()
    for new in _session(replace(sizes, rounds=rounds or sizes.rounds), wanted, pythons, is_quick=quick):
        measured = measured.updated(new)
        if docs:
            _write(new, docs, readme)
    print_table(table_of(measured.figures))


def _parts(only: str) -> set[Part]:
    try:
        return {Part(name.strip()) for name in only.split(",")}
    except ValueError as error:
        raise click.BadParameter(f"{error}; parts are {', '.join(Part)}", param_hint="--only") from None


def _session(sizes: Sizes, wanted: set[Part], pythons: Pythons, *, is_quick: bool) -> Iterator[Document]:
    """Measure on a stage of its own, which is cleared away; tells what it has as soon as it has all of a part."""
    machine = describe()
    folder = Path(tempfile.mkdtemp(prefix="batchmill-bench-"))
    stage = Stage(folder, sizes, pythons)
    try:
        for measured, figures in _measure(stage, wanted):
            profiles = [] if is_quick else explain(stage, figures)
            yield Document(
                {
                    part: Measurement(
                        machine=machine,
                        sizes=asdict(sizes),
                        is_quick=is_quick,
                        figures=[figure for figure in figures if figure.part is part],
                        profiles=[profile for profile in profiles if profile.part is part],
                        versions=pythons.versions() if part.is_beside else {},
                        absent={**pythons.absent(), **stage.trouble[part]} if part.is_beside else {},
                    )
                    for part in measured
                }
            )
    finally:
        stage.close()
        shutil.rmtree(folder, ignore_errors=True)


def _measure(stage: Stage, wanted: set[Part]) -> Iterator[tuple[list[Part], list[Figure]]]:
    """In turn, so that whatever else the machine does meets all alike; tells of parts as they are complete."""
    samples: dict[Part, list[dict[str, float]]] = defaultdict(list)
    rounds = stage.sizes.rounds
    steps = [(rounds, *step) for step in EVERY_ROUND] + [(1, *step) for step in ONCE]
    for nth in range(1, rounds + 1):
        for last, parts, measure in steps:
            mine = [part for part in Part if part in parts & wanted]
            if not mine or nth > last:
                continue
            begun = time.monotonic()
            found: dict[Part, dict[str, float]] = defaultdict(dict)
            for part, values in measure(stage, wanted):
                found[part] |= values
            for part, whole in found.items():
                samples[part].append(whole)
            narrate(f"round {nth}: {', '.join(mine)}: {time.monotonic() - begun:.0f} s")
            if nth == last:
                figures = (figures_of(part, samples[part], TARGETS[part]) for part in mine)
                yield mine, list(chain.from_iterable(figures))


def _write(measured: Document, docs: Path, readme: Path | None) -> None:
    """Put the new parts over the old ones, and render all of it anew."""
    docs.mkdir(exist_ok=True)
    document = Document.load(docs / DOCUMENT).updated(measured)
    document.save(docs / DOCUMENT)
    (docs / PAGE).write_text(page(document), encoding="utf-8")
    write_charts(document, docs / CHARTS)
    if readme:
        write_readme(document, readme)


if __name__ == "__main__":
    main()
