"""The figures that the README quotes: a block of it that is written from the document, and by nobody else."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.document import Document
from benchmarks.figures import Figure, Part
from benchmarks.parts.beside import ALL_CPU, CPU, OURS, PACE
from benchmarks.parts.memory import GROWTH, RATIO
from benchmarks.peers.roster import PEERS
from benchmarks.store import Store

BEGIN, END = "<!-- figures: written by make bench and make bench-peers -->", "<!-- end of the figures -->"
_BLOCK = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
BESIDE: Sequence[tuple[str, str]] = (
    ("requests a second", PACE),
    ("ms of processor time a call", CPU),
    ("the same with broker and database", ALL_CPU),
)
ALONE: Sequence[tuple[str, Part, str]] = (
    ("new lines a second", Part.UNIQUE, "{store}: answered, req/s"),
    ("lines a second from the cache", Part.CACHED, "{store}: answered, lines/s"),
    ("the worker's processor time a line, ms", Part.UNIQUE, "{store}: worker, ms CPU a request"),
    (
        "slots in use at 0.5 to 2 s a call, %",
        Part.UTILISATION,
        "{store}: calls made of those the slots allow, %",
    ),
    ("an urgent request behind 100,000 starts within (p99), ms", Part.LANES, "{ours}: p99, ms"),
    ("memory, a million lines more than ten thousand, %", Part.MEMORY, f"{{ours}}: {GROWTH}"),
    ("processor time a line, a million against ten thousand", Part.COST, f"{{ours}}: {RATIO}"),
)
"""What is quoted, by part and by the sample's name."""


def with_figures(readme: str, document: Document) -> str:
    """The README with its block written anew."""
    return _BLOCK.sub(lambda _: block(document), readme)


def write_readme(document: Document, path: Path) -> None:
    """The same, in place."""
    path.write_text(with_figures(path.read_text(encoding="utf-8"), document), encoding="utf-8")


def block(document: Document) -> str:
    """The block, its marks included."""
    beside = [
        (name, *(_shown(document, Part.PEERS, f"{name}: {what}") for _, what in BESIDE))
        for name in (*OURS.values(), *(peer.name for peer in PEERS))
    ]
    alone = [
        (
            words,
            *(_shown(document, part, sample.format(store=store, ours=OURS[store])) for store in Store),
        )
        for words, part, sample in ALONE
    ]
    tables = [_table([words for words, _ in BESIDE], beside), _table([*Store], alone)]
    return "\n\n".join([BEGIN, *filter(None, tables), END])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of the rows of which anything has been measured; none of no rows."""
    measured = [row for row in rows if any(row[1:])]
    lines = [("", *columns), ("---", *["---:"] * len(columns)), *measured]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) if measured else ""


def _shown(document: Document, part: Part, sample: str) -> str:
    name, _, unit = sample.rpartition(", ")
    figure: Figure | None = document.find(part, name, unit)
    return figure.shown if figure and not document.parts[part].is_quick else ""
