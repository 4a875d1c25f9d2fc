"""`docs/benchmarks.md`: the document as a page. Nothing is on it that is not in the document."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.charts import CHARTS
from benchmarks.document import Document, Measurement
from benchmarks.figures import Figure, Part, number
from benchmarks.peers.roster import PEERS
from benchmarks.profile import Profile
from benchmarks.words import LIMITS, PROFILE_WORDS, QUICK_NOTICE, WORDS

BESIDE_TITLE, OURS_TITLE = "## Beside others", "## Batchmill alone"
INTRODUCTION = (
    "Made by `make bench-peers` (beside others) and `make bench` (batchmill alone), with the installed command and real"
    " servers; every figure is in [benchmarks.json](benchmarks.json), nothing here is typed by hand."
)


def page(document: Document) -> str:
    """All of it."""
    beside = [part for part in document.parts if part.is_beside]
    ours = [part for part in document.parts if not part.is_beside]
    sections = ["# Benchmarks", INTRODUCTION]
    sections += [QUICK_NOTICE] if any(found.is_quick for found in document.parts.values()) else []
    sections += [_summary(document.figures)]
    if beside:
        sections += [BESIDE_TITLE, *_charts(document)]
        sections += [_beside(part, document.parts[part]) for part in beside]
        sections += [_what_they_are(document)]
    if ours:
        sections += [OURS_TITLE, *(_alone(part, document.parts[part]) for part in ours)]
    sections += _profiles(document)
    sections += [_machines(document)]
    sections += ["\n".join(["## What these figures are not", "", *(f"- {limit}" for limit in LIMITS)])]
    return "\n\n".join(sections) + "\n"


def _summary(figures: Sequence[Figure]) -> str:
    judged = [figure for figure in figures if figure.target]
    missed = [figure for figure in judged if not figure.is_met]
    lines = [f"{len(judged) - len(missed)} of {len(judged)} targets are met."]
    if missed:
        lines += ["Missed:", ""]
        lines += [
            f"- {figure.part}, {figure.name}: {number(figure.value)} {figure.unit}, target {figure.target}"
            for figure in missed
        ]
    return "\n".join(lines)


def _charts(document: Document) -> list[str]:
    return [f"![{chart.title}](benchmarks/{chart.file})" for chart in CHARTS if chart.bars(document)]


def _beside(part: Part, measurement: Measurement) -> str:
    """A line for everybody, a column for every figure; what compares two has a table of its own."""
    tables = [
        _table([figure for figure in measurement.figures if (figure.unit == "x") is is_ratio])
        for is_ratio in (False, True)
    ]
    missing = [f"{name}: {reason}." for name, reason in measurement.absent.items()]
    return "\n\n".join(filter(None, [*_head(part, measurement), *tables, *missing]))


def _table(figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    rows: dict[str, dict[str, str]] = {}
    columns: dict[str, str] = {}
    for figure in figures:
        who, _, what = figure.name.partition(": ")
        column = f"{what}, {figure.unit}"
        columns[column] = f"{what}, {figure.unit}" if figure.unit != "x" else f"{what} by"
        rows.setdefault(who, {})[column] = _cell(figure)
    head = ["", *columns.values()]
    lines = [head, ["---", *["---:"] * len(columns)]]
    lines += [[who, *(cells.get(column, "–") for column in columns)] for who, cells in rows.items()]
    return "\n".join(_rows(lines))


def _cell(figure: Figure) -> str:
    """The median, its range, and the target where there is one."""
    shown = f"{figure.shown}{' ×' if figure.unit == 'x' else ''}"
    shown += f" ({figure.range})" if figure.range else ""
    return shown + (f", target {figure.target}: {figure.verdict}" if figure.target else "")


def _what_they_are(document: Document) -> str:
    rows = [
        (f"{peer.name} ({peer.package} {_version(document, peer.name)})", peer.differs, peer.lost)
        for peer in PEERS
    ]
    ours = (
        "batchmill",
        "Every line is checked and stored before any is asked; every call has an entry in the ledger, and is held"
        " against budgets before it is made. A service or a command with processes of its own.",
        "Nothing that was accepted. A call under way may be billed twice; it is listed.",
    )
    table = ["| | not the same | kill -9 takes |", "|---|---|---|", *_rows([ours, *rows])]
    return "\n".join(["### What each of them is", "", *table])


def _version(document: Document, peer: str) -> str:
    found = (measurement.versions.get(peer) for measurement in document.parts.values())
    return next(filter(None, found), "not installed")


def _head(part: Part, measurement: Measurement) -> list[str]:
    title, words = WORDS[part]
    shortest_s, longest_s = measurement.sizes["latency_s"]
    extra = {"shortest_s": shortest_s, "longest_s": longest_s, "warm_up_s": 2 * longest_s}
    return [f"### {title}", words.format(**measurement.sizes, **extra)]


def _alone(part: Part, measurement: Measurement) -> str:
    rows = [
        (
            figure.name,
            figure.shown,
            figure.unit,
            figure.range,
            str(figure.target or ""),
            figure.verdict,
        )
        for figure in measurement.figures
    ]
    table = ["| | median | unit | range | target | |", "|---|---:|---|---|---|---|", *_rows(rows)]
    return "\n\n".join([*_head(part, measurement), "\n".join(table)])


def _machines(document: Document) -> str:
    """What it was measured on; where parts differ in something, which ones have which."""
    values: dict[str, dict[str, list[str]]] = {}
    for part, measurement in document.parts.items():
        for name, value in measurement.machine.items():
            values.setdefault(name, {}).setdefault(value, []).append(part)
    rows = [(name, _value(found)) for name, found in values.items()]
    return "\n".join(["## The machine", "", "| | |", "|---|---|", *_rows(rows)])


def _value(found: Mapping[str, list[str]]) -> str:
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{value} ({', '.join(parts)})" for value, parts in found.items())


def _profiles(document: Document) -> list[str]:
    profiles = [profile for found in document.parts.values() for profile in found.profiles]
    if not profiles:
        return []
    return [f"## Why targets are missed\n\n{PROFILE_WORDS}", *map(_profile, profiles)]


def _profile(profile: Profile) -> str:
    lines = [f"### {profile.title}", ""]
    for heading, shares in profile.tables.items():
        lines += [f"| {heading} | share |", "|---|---:|"]
        lines += [*_rows((f"`{name}`", f"{share:.0%}") for name, share in shares.items()), ""]
    return "\n".join(lines).rstrip()


def _rows(rows: Iterable[Iterable[Any]]) -> list[str]:
    return ["| " + " | ".join(map(str, row)) + " |" for row in rows]
