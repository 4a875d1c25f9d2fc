"""What was measured is kept by part, and whatever shows a figure shows that one."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.charts import CHARTS
from benchmarks.document import Document, Measurement
from benchmarks.figures import AtLeast, Figure, Part, SoFar
from benchmarks.page import page
from benchmarks.readme import BEGIN, END, block, with_figures

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def measured(part: Part, *figures: Figure, is_quick: bool = False) -> Document:
    """A document of one part."""
    sizes = {"latency_s": [0.5, 2.0], "peer_lines": 5, "rounds": 3, "peer_patience_s": 60, "scale": [10, 100]}
    measurement = Measurement(
        machine={"date": "2026-11-28"}, sizes=sizes, is_quick=is_quick, figures=figures, absent={}
    )
    return Document({part: measurement})


def pace(value: float, who: str = "batchmill, SQLite") -> Figure:
    """A figure of the first part."""
    return Figure(part=Part.PEERS, name=f"{who}: answered", unit="req/s", samples=(value,))


def test_the_committed_page_is_what_its_figures_say(tmp_path: Path) -> None:
    """Page, charts and README are rendered from the committed figures, the medians there are those of their samples:
    nothing was changed by hand."""
    document = Document.load(DOCS / "benchmarks.json")
    document.save(tmp_path / "benchmarks.json")
    assert (DOCS / "benchmarks.json").read_text() == (tmp_path / "benchmarks.json").read_text()
    assert (DOCS / "benchmarks.md").read_text() == page(document)
    shown = [chart for chart in CHARTS if chart.bars(document)]
    for chart in shown:
        assert (DOCS / "benchmarks" / chart.file).read_text() == chart.svg(document)
    assert {path.name for path in (DOCS / "benchmarks").glob("*")} == {chart.file for chart in shown}
    readme = (ROOT / "README.md").read_text()
    assert readme == with_figures(readme, document)
    assert readme.count(BEGIN) == readme.count(END) == 1


def test_the_committed_figures_were_measured_in_earnest() -> None:
    """Nothing of a quick round is committed."""
    parts = Document.load(DOCS / "benchmarks.json").parts
    assert parts
    assert not [part for part, measurement in parts.items() if measurement.is_quick]


def test_the_readme_quotes_no_other_pace() -> None:
    """Outside its block, the README names no number of requests or lines a second."""
    readme = (ROOT / "README.md").read_text()
    before, rest = readme.split(BEGIN)
    assert not re.findall(r"\d\s*(?:req/s|requests a second|lines a second)", before + rest.split(END)[1])


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Samples, targets, and that a value would have gone on rising."""
    target = Figure(part=Part.MEMORY, name="a: b", unit="MB", samples=(SoFar(3.0),), target=AtLeast(2))
    document = measured(Part.MEMORY, target)
    document.save(tmp_path / "figures.json")
    read = Document.load(tmp_path / "figures.json")
    assert read == document
    assert read.figures[0].shown == "≥ 3"
    assert read.figures[0].is_met


def test_a_part_measured_anew_replaces_that_part_alone() -> None:
    """`make bench` leaves what `make bench-peers` has found, and the other way round."""
    old = measured(Part.PEERS, pace(1.0)).updated(measured(Part.CACHED))
    new = old.updated(measured(Part.PEERS, pace(2.0)))
    assert list(new.parts) == [Part.PEERS, Part.CACHED]
    assert [figure.value for figure in new.figures] == [2.0]


def test_a_quick_round_replaces_nothing_measured_in_earnest() -> None:
    """It says nothing about speed."""
    old = measured(Part.PEERS, pace(1.0))
    assert old.updated(measured(Part.PEERS, pace(2.0), is_quick=True)) == old
    quick = measured(Part.PEERS, pace(1.0), is_quick=True)
    assert quick.updated(old) == old


def test_everybody_has_a_line_and_every_figure_a_column() -> None:
    """Of a part with others in it; who has no such figure has a dash."""
    cpu = Figure(part=Part.PEERS, name="loop: its processes", unit="ms CPU a call", samples=(1.5, 2.0, 2.5))
    shown = page(measured(Part.PEERS, pace(3_000.0), pace(600.0, "loop"), cpu))
    assert "| batchmill, SQLite | 3,000 | – |" in shown
    assert "| loop | 600 | 2 (1.5 to 2.5) |" in shown


@pytest.mark.parametrize("chart", CHARTS, ids=[chart.file for chart in CHARTS])
def test_a_chart_tells_in_words_what_it_shows(chart) -> None:
    """It is an image with a title and a description of every bar; the longest bar is the largest value."""
    what = "100 lines" if chart.part is Part.MEMORY else chart.what
    figures = [
        Figure(part=chart.part, name=f"{who}: {what}", unit=chart.unit, samples=(value,))
        for who, value in (("batchmill, SQLite", 30.0), ("<loop>", 10.0))
    ]
    document = measured(chart.part, *figures)
    image = ElementTree.fromstring(chart.svg(document))
    name = "{http://www.w3.org/2000/svg}"
    assert image.findtext(f"{name}title") == chart.title
    assert image.get("role") == "img"
    told = image.findtext(f"{name}desc") or ""
    assert "batchmill, SQLite: 30" in told
    assert "<loop>: 10" in told
    lengths = {bar.who: bar.length for bar in chart.bars(document)}
    assert lengths["batchmill, SQLite"] == pytest.approx(3 * lengths["<loop>"], rel=0.01)


def test_the_block_quotes_what_is_in_the_document() -> None:
    """A figure of the document is in the README's block; one that was never measured leaves no line."""
    quoted = block(measured(Part.PEERS, pace(3_123.0)))
    assert "3,123" in quoted
    assert "Router" not in quoted
    assert "3,123" not in block(measured(Part.PEERS, pace(3_123.0), is_quick=True))
