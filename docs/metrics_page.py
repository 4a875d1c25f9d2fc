"""The reference of metrics, made from their declarations in the code."""

from collections.abc import Iterable

from api.families import OF_HTTP, OF_THE_MILL
from batchmill.metering.families import FAMILIES
from batchmill.metering.family import Family
from workers.meters.readings import BUILD


def metrics_page() -> str:
    """Every metric, by who tells it."""
    parts = [
        "# Metrics",
        "Made from the code by `python docs/make_reference.py`. How to read them, and what to do about them:"
        " [metrics](../how-to/metrics.md).",
        "## What processes count of themselves",
        "Workers, maintenance, and the service of the single requests that it answers. Of several processes they add"
        " up: take the `sum`. The service's `/metrics` has those of its home's workers, but of those that tell theirs"
        " at a port of their own.",
        _table([BUILD, *FAMILIES]),
        "## HTTP",
        "Each service tells what it has answered itself.",
        _table(OF_HTTP),
        "## The mill",
        "Told by each service, read from the database at most every five seconds. With several services on one database"
        " each tells the same: take the `max`, never the `sum`. Counters begin with the process.",
        _table(OF_THE_MILL),
    ]
    return "\n\n".join(parts) + "\n"


def _table(families: Iterable[Family]) -> str:
    rows = ["| metric | kind | labels | |", "|---|---|---|---|"]
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        about = f"{family.meaning} {family.note[:1].upper()}{family.note[1:]}.".removesuffix(" .")
        rows.append(f"| `{family.told_as}` | {family.kind} | {labels} | {about} |")
    return "\n".join(rows)
