"""Charts of the page: plain bars as SVG, one for each contender, readable on light and on dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.document import Document
from benchmarks.figures import Figure, Part
from benchmarks.parts.beside import OURS

WIDTH, ROW, TOP, LEFT, RIGHT, BOTTOM = 720, 30, 58, 210, 90, 16
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One contender's figure.

    Attributes:
        length: In pixels.
    """

    who: str
    shown: str
    length: float
    is_ours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One figure of a part, for everybody who has it.

    Attributes:
        what: The figure's name, after the contender's; of memory, that at the largest batch.
        better: Which end is the good one.
    """

    file: str
    title: str
    part: Part
    what: str
    unit: str
    better: str

    def bars(self, document: Document) -> list[Bar]:
        """The bars, the longest as long as there is room; none where nothing was measured."""
        figures = self._figures(document)
        longest = max((figure.value for figure in figures), default=0.0) or 1.0
        return [
            Bar(
                who=(who := figure.name.partition(": ")[0]),
                shown=f"{figure.shown} {self.unit}",
                length=round(figure.value / longest * (WIDTH - LEFT - RIGHT), 1),
                is_ours=who in OURS.values(),
            )
            for figure in figures
        ]

    def words(self, document: Document) -> str:
        """What it shows, for those who do not see it."""
        return "; ".join(f"{bar.who}: {bar.shown}" for bar in self.bars(document)) + "."

    def svg(self, document: Document) -> str:
        """The picture."""
        bars = self.bars(document)
        return (
            _templates.get_template("chart.svg.j2").render(
                chart=self,
                bars=bars,
                words=self.words(document),
                width=WIDTH,
                height=TOP + ROW * len(bars) + BOTTOM,
                row=ROW,
                top=TOP,
                left=LEFT,
            )
            + "\n"
        )

    def _figures(self, document: Document) -> Sequence[Figure]:
        found = [figure for figure in document.figures if figure.part is self.part]
        what = self.what
        if self.part is Part.MEMORY and found:
            what = f"{document.parts[self.part].sizes['scale'][-1]:,} lines"
        return [figure for figure in found if figure.name.partition(": ")[2] == what]


CHARTS = (
    Chart(
        file="pace.svg",
        title="Requests answered in a second",
        part=Part.PEERS,
        what="answered",
        unit="req/s",
        better="longer is better",
    ),
    Chart(
        file="cpu.svg",
        title="Processor time a call, broker and database included",
        part=Part.PEERS,
        what="with broker and database",
        unit="ms",
        better="shorter is better",
    ),
    Chart(
        file="memory.svg",
        title="Memory at the largest batch, all processes",
        part=Part.MEMORY,
        what="the largest batch",
        unit="MB",
        better="shorter is better; ≥: cut off before it had done",
    ),
    Chart(
        file="slots.svg",
        title="Slots in use with a slow provider",
        part=Part.PEERS_SLOW,
        what="calls made of those the slots allow",
        unit="%",
        better="longer is better",
    ),
)


def write_charts(document: Document, folder: Path) -> None:
    """Every chart that has anything to show."""
    folder.mkdir(exist_ok=True)
    for chart in CHARTS:
        if chart.bars(document):
            (folder / chart.file).write_text(chart.svg(document), encoding="utf-8")
