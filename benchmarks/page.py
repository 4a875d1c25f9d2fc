"""What is shown: a table on the terminal, a JSON document, and `docs/benchmarks.md`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Figure, Part, number
from benchmarks.profile import Profile
from benchmarks.sizes import Sizes

WORDS: Mapping[Part, tuple[str, str]] = {
    Part.UNIQUE: (
        "Unique lines",
        "`batchmill run` on {lines:,} lines nobody asked before, one worker process, 64 calls in flight, a sandbox that"
        " answers at once. *Answered* is the pace from the first commit that settled lines to the last, by the"
        " database's own times. *From the batch's start* (its last line stored) has what is left of the worker's start"
        " in it, about a second; the whole command also starts a broker, stores the file and writes the results."
        " CPU is what the kernel counted from the batch's start on, for each process.",
    ),
    Part.CACHED: (
        "Cached lines",
        "The same file once more: every line is answered from the cache, no call is made. Measured as above; at this"
        " size the processes' start is most of it.",
    ),
    Part.BUDGETS: (
        "Budgets",
        "{lines:,} unique lines as above, without a budget and with three that cover every call (global by the day, the"
        " tenant by the month, the model in all), never full, {turns} times each way in a round, in turns. Each call is"
        " then bounded (by its bytes, as there is room), held on three rows and charged to them. Left is the pace with"
        " them in per cent of the pace without, over all runs of a round.",
    ),
    Part.INGEST: (
        "Ingest",
        "`batchmill run` on {ingest_lines:,} lines, from the batch's row to its start: every line read, hashed, checked"
        " and stored, names told apart, cache keys made; the worker starts meanwhile. Before that the file is read once"
        " for its hash alone: that is in the second figure, with the command's start, and not in the first.",
    ),
    Part.QUOTE: (
        "What it will cost",
        "`batchmill quote` on {lines:,} and on {many_lines:,} unique lines, in as many processes as there are"
        " processors. What the larger takes longer is all its lines': neither has the command's start in it. Memory is"
        " that of the largest process; eight bytes a line for the names and some twenty for the questions are in it.",
    ),
    Part.CLIENT: (
        "The producers' client",
        "`from batchmill import Client` in a fresh Python, less what Python itself takes; {ingest_lines:,} prompts from"
        " a generator as the body of an upload, and as many lines of an output file read as results, on one core and"
        " without a service.",
    ),
    Part.LIMITS: (
        "Rate limits",
        "{admissions:,} calls let through by the limiter on a Valkey, from one process, in lists of 64: each counted in"
        " two buckets, five limits in all, and settled with what it came to. No call is made.",
    ),
    Part.MEMORY: (
        "Memory",
        "Peak resident memory of each process (the kernel's high-water mark), unique lines on SQLite:"
        " {lines:,} and {many_lines:,}.",
    ),
    Part.UTILISATION: (
        "Utilisation",
        "{slow_lines:,} lines, a provider that takes {shortest_s:g} to {longest_s:g} s, evenly spread, {slots} calls in"
        " flight. Allowed are slots over mean latency. Counted are calls ended, by the database's times, from"
        " {warm_up_s:g} s after the first call until the last one is sent.",
    ),
    Part.QUOTA: (
        "Quotas",
        "`batchmill run` with {quota_processes} worker processes against a sandbox with true sliding windows of 600"
        " requests and 60,000 tokens a minute, calls of some twenty to a thousand tokens, for {quota_s:g} s from a cold"
        " start. The limits are set by `batchmill providers limit`; refused calls count, with the sandbox as with providers."
        " Used is what it let through in per cent of the limit that is tighter for these calls. Once more with a"
        " FLUSHALL on the broker in the middle, whereupon the limiter waits some seconds.",
    ),
    Part.SERVICE: (
        "The service",
        "{many_lines:,} lines handed in over HTTP on a warm service: from the first byte of the upload, through the"
        " batch's creation, until it is in progress, all of it stored (`batchmill serve`, no worker beside it). Then on"
        " `batchmill up` with SQLite: an upload of {upload_mb} MB, {uploads} at once of as much together, each compared"
        " by its hash; and the same batch answered to its end, its file downloaded. Memory is by how much a process's"
        " resident set rises at its highest above what it was before (SQLite's pages and caches in it).",
    ),
    Part.DIRECT: (
        "Single requests",
        "{direct_calls:,} chat completions one after the other in each of four ways, in turn, every question another:"
        " over a kept connection of Python's own HTTP client and with the official SDK, to the sandbox itself and"
        " through `batchmill serve`. What the service adds is everything a batch's line has: three commits, a hold, an"
        " entry in the cache and one in the ledger.",
    ),
    Part.CLEANUP: (
        "Cleaning the cache up",
        "{cache_entries:,} entries of all ages, cleaned down to half by what `batchmill cache optimize` and the hourly"
        " job call, in a process of its own, while a worker in another claims 64 lines at a time, takes half of them"
        " from the cache and answers the others after 20 ms, as fast as it can. Three tenths of the entries have"
        " expired, the others go by worth; half of the answers that nobody has used go with their entries, the rest is"
        " still some line's. A step is a transaction, waiting for others included. Memory rises by what that process"
        " holds at its highest above what it held before.",
    ),
    Part.RIVALS: (
        "Beside it",
        "{rival_calls:,} calls to the same sandbox in the same minutes: a loop over AsyncOpenAI with 64 calls in"
        " flight; and Celery, one task a request, two prefork processes with the sync SDK, tasks fetched 64 at a"
        " time, queued beforehand. Both are warm when the clock starts, and append answers to a file. Their CPU is held"
        " against that of all our processes (launcher, worker and its parent), with what is left of the worker's start"
        " in it. Neither has a cache, a ledger or a record of what was sent, nor goes on after a crash.",
    ),
}
LIMITS = (
    "Everything shares the machine: the sandbox, the database server and the measuring itself take their part of the"
    " same cores. With more cores, or a provider elsewhere, figures are higher.",
    "The sandbox answers on the loopback at once, in the clear. A real provider takes seconds and TLS; then calls in"
    " flight and rate limits are the bound, and none of this is.",
    "CPU is read every 50 ms, in steps of the kernel's 10 ms; over a second that is a few per cent. A process's last"
    " moments may be missed.",
    "Medians over rounds; the range is the spread. On a shared machine a round may be slow for reasons of others.",
    "SQLite does not wait for the disk at each commit (it is safe against kill -9, not against a power cut);"
    " PostgreSQL does.",
)


PROFILE_WORDS = (
    "Shares of the process's CPU time, its start included, sampled every 5 ms of it: by thread; by whose code was"
    " running; and by the innermost function of batchmill that was at work, with all it called. A thread that has"
    " just come to the end of its work is found waiting, so some of what the database's thread did is under Python's"
    " `thread` and under none of ours."
)
QUICK_NOTICE = "**Made with `--quick`: small sizes, one round. It says nothing about speed.**"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that has been measured, and on what."""

    machine: Mapping[str, str]
    sizes: Sizes
    is_quick: bool
    figures: tuple[Figure, ...]
    profiles: tuple[Profile, ...]

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "machine": dict(self.machine),
            "figures": [
                {
                    "part": figure.part,
                    "name": figure.name,
                    "unit": figure.unit,
                    "value": figure.value,
                    "samples": list(figure.samples),
                    "target": str(figure.target) if figure.target else None,
                    "met": figure.is_met,
                }
                for figure in self.figures
            ],
            "profiles": [
                {"part": profile.part, "store": profile.store, "tables": profile.tables}
                for profile in self.profiles
            ],
        }

    def as_table(self) -> list[dict[str, str]]:
        """Rows for the terminal."""
        return [
            {
                "part": figure.part,
                "figure": figure.name,
                "median": number(figure.value),
                "unit": figure.unit,
                "range": _range(figure),
                "target": str(figure.target or ""),
                "": figure.verdict,
            }
            for figure in self.figures
        ]

    def as_page(self) -> str:
        """`docs/benchmarks.md`."""
        parts = [
            "# Benchmarks",
            "Made by `make bench`, with the installed command and real servers; nothing here is typed by hand.",
            *([QUICK_NOTICE] if self.is_quick else []),
            self._summary(),
            "\n".join(["## The machine", "", "| | |", "|---|---|", *_rows(self.machine.items())]),
        ]
        parts += [self._section(part) for part in Part if self._of(part)]
        if self.profiles:
            parts += [f"## Why targets are missed\n\n{PROFILE_WORDS}", *map(_profile, self.profiles)]
        parts.append("\n".join(["## What these figures are not", "", *(f"- {limit}" for limit in LIMITS)]))
        return "\n\n".join(parts) + "\n"

    def _summary(self) -> str:
        judged = [figure for figure in self.figures if figure.target]
        missed = [figure for figure in judged if not figure.is_met]
        lines = [f"{len(judged) - len(missed)} of {len(judged)} targets are met."]
        if missed:
            lines += ["Missed:", ""]
            lines += [
                f"- {figure.part}, {figure.name}: {number(figure.value)} {figure.unit}, target {figure.target}"
                for figure in missed
            ]
        return "\n".join(lines)

    def _section(self, part: Part) -> str:
        title, words = WORDS[part]
        shortest_s, longest_s = self.sizes.latency_s
        text = words.format(
            **{name: getattr(self.sizes, name) for name in Sizes.__slots__},
            shortest_s=shortest_s,
            longest_s=longest_s,
            warm_up_s=2 * longest_s,
        )
        rows = [
            (
                figure.name,
                number(figure.value),
                figure.unit,
                _range(figure),
                str(figure.target or ""),
                figure.verdict,
            )
            for figure in self._of(part)
        ]
        table = ["| | median | unit | range | target | |", "|---|---:|---|---|---|---|", *_rows(rows)]
        return "\n".join([f"## {title}", "", text, "", *table])

    def _of(self, part: Part) -> Sequence[Figure]:
        return [figure for figure in self.figures if figure.part is part]


def _range(figure: Figure) -> str:
    if len(figure.samples) == 1:
        return ""
    return f"{number(min(figure.samples))} to {number(max(figure.samples))}"


def _rows(rows: Any) -> list[str]:
    return ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def _profile(profile: Profile) -> str:
    lines = [f"### {profile.title}", ""]
    for heading, shares in profile.tables.items():
        lines += [f"| {heading} | share |", "|---|---:|"]
        lines += [*_rows((f"`{name}`", f"{share:.0%}") for name, share in shares.items()), ""]
    return "\n".join(lines).rstrip()
