"""Part `utilisation`: a slow provider, and how full the window of calls stays."""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.figures import AtLeast, AtMost, Part, Samples
from benchmarks.processes import Role
from benchmarks.runs import call_times_ms, measure
from benchmarks.stage import Stage
from benchmarks.store import Store

TARGETS: Mapping[str, AtLeast | AtMost] = {
    f"{store}: calls made of those the slots allow, %": AtLeast(95) for store in Store
}


def run(stage: Stage, wanted: set[Part]) -> Iterator[tuple[Part, Samples]]:
    """One batch on each database."""
    sizes = stage.sizes
    shortest_s, longest_s = sizes.latency_s
    provider = stage.provider(f"{shortest_s}-{longest_s}")
    possible = sizes.slots / ((shortest_s + longest_s) / 2)
    for store in stage.sizes.stores:
        with stage.home(store, provider) as home:
            path = stage.batch_file(sizes.slow_lines)
            measured = measure(stage, store, home, provider, path, "--concurrency", str(sizes.slots))
            achieved = steady_calls_a_second(call_times_ms(home.database), longest_s)
            yield (
                Part.UTILISATION,
                {
                    f"{store}: calls made of those the slots allow, %": achieved / possible * 100,
                    f"{store}: calls made, calls/s": achieved,
                    f"{store}: worker, ms CPU a call": measured.cpu_ms_a_line(Role.WORKER),
                },
            )


def steady_calls_a_second(times_ms: Sequence[tuple[int, int]], longest_s: float) -> float:
    """Calls ended in a second, from when the first slots have been used twice until there is no more to send."""
    begin_ms = times_ms[0][0] + 2 * longest_s * 1000
    end_ms = times_ms[-1][0]
    ended = sum(begin_ms <= ended_ms < end_ms for _, ended_ms in times_ms)
    return ended / (end_ms - begin_ms) * 1000
