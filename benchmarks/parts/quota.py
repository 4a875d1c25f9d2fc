"""Part `quota`: worker processes against a provider with true sliding windows: none refused, nearly all used."""

from collections.abc import Iterator, Mapping

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.stage import Stage
from tests.support.quota import use_up

WAYS = {"a minute": False, "a minute and a second": True}
"""What the provider holds calls to: its minutes alone, or each second to its part of one as well."""
USED, REFUSED = "held to {}: of the tighter limit used, %", "held to {}: refused, calls"
FORGOTTEN = "all forgotten in the middle: refused, calls"
TARGETS: Mapping[str, AtLeast | AtMost] = {
    **{USED.format(way): AtLeast(97) for way in WAYS},
    **{REFUSED.format(way): AtMost(0) for way in WAYS},
    FORGOTTEN: AtMost(0),
}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """Once for each way of holding, and once with a FLUSHALL in the middle."""
    seconds, processes = stage.sizes.quota_s, stage.sizes.quota_processes
    for way, per_second in WAYS.items():
        used = use_up(stage.empty_folder(), seconds=seconds, per_second=per_second, processes=processes)
        yield (
            Part.QUOTA,
            {
                USED.format(way): used.percent,
                REFUSED.format(way): used.refused,
                f"held to {way}: made, calls": used.calls,
            },
        )
    used = use_up(
        stage.empty_folder(),
        seconds=seconds,
        per_second=True,
        flush_after_s=[seconds / 2],
        processes=processes,
    )
    yield (
        Part.QUOTA,
        {FORGOTTEN: used.refused, "all forgotten in the middle: of the tighter limit used, %": used.percent},
    )
