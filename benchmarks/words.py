"""What the page says of each part: a title, and how its figures were taken."""

from collections.abc import Mapping

from benchmarks.figures import Part

WORDS: Mapping[Part, tuple[str, str]] = {
    Part.PEERS: (
        "How fast, and for how much processor time",
        "Unique lines, {peer_lines:,} each, 64 calls in flight, a sandbox that answers at once; everybody in turn,"
        " {rounds} times. Calls are counted from when each is warm: imports, first connections and 64 calls before"
        " that are not in the first and third figure, and all of them are in the second. Ours checks, stores, prices"
        " and books every line meanwhile. Of Celery, queueing lies before, and is in the second figure only;"
        " curator's pace has the reading and writing of its data sets in it. Processor time is that of all processes"
        " of each, then with the broker's and the database server's, where there are any; never the sandbox's.",
    ),
    Part.PEERS_CACHED: (
        "The same file once more",
        "Every line is answered from what is kept of the first time; nobody is called. The pace is counted as"
        " above; for ours, the start of its processes is most of the second figure. The Router's cache is in"
        " a Redis. The others have no cache: they ask, and pay, again.",
    ),
    Part.PEERS_SLOW: (
        "A provider that takes its time",
        "{slow_lines:,} lines, {shortest_s:g} to {longest_s:g} s a call, evenly spread, {slots} calls in flight"
        " allowed. Counted are calls as they arrive at the sandbox, from {warm_up_s:g} s after the first until the"
        " last one, in per cent of what the slots allow (slots over mean latency). A peer that does not come to its"
        " end is cut off {peer_patience_s:g} s after its first call. Memory is the most that its processes held.",
    ),
    Part.PEERS_QUOTA: (
        "A provider's limits",
        "Sandboxes with true sliding windows of 600 requests and 60,000 tokens a minute, looked at for"
        " {quota_peers_s:g} s from the first call on, from a cold start; calls of some forty to a few hundred"
        " tokens. Each is told the limits. Used is what was let through, in per cent of the tighter limit; refused"
        " calls count as well, with the sandbox as with providers. The others cannot be told a limit.",
    ),
    Part.LANES: (
        "How soon an urgent request starts",
        "{urgent} urgent requests, one each half second, behind {low_lines:,} that are not and are being answered"
        " as fast as can be: from when it is handed in until its call arrives at the sandbox. Ours: a file of one"
        " line uploaded over HTTP and a batch made of it with priority `high`. Celery: a task with Redis'"
        " priorities, one task fetched at a time. The others have no lanes: what is urgent waits for a process of"
        " its own, or for all that came before.",
    ),
    Part.MEMORY: (
        "Memory as the batch grows",
        "The most that all processes held at one time, broker included, sandbox and database server left out; what"
        " forked processes share is counted for each. *≥*: cut off {peer_patience_s:g} s after its first call, before"
        " its end; then it is told how long it would take at that pace, where there is one by then. A loop that takes"
        " line after line, as this one does, does not grow; one that makes a task of every line first does.",
    ),
    Part.COST: (
        "Processor time as the batch grows",
        "Of all our processes, the broker and the database server, from the first commit that settled lines to the"
        " last. The smallest batch is measured {turns} times before, between and after the others, and its median"
        " counts: a machine is not equally quick for half an hour. The sandbox does the same for every call: its"
        " processor time a call, largest against smallest batch, tells how much of a difference was the machine's."
        " PostgreSQL's upkeep (autovacuum, checkpoints, what writes pages and log behind the queries) has hardly begun"
        " when a batch of some seconds ends, though its lines cause as much of it afterwards; it is in the figures.",
    ),
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
        " start. The limits are set by `batchmill providers limit`; refused calls count, with the sandbox as with"
        " providers. Used"
        " is what it let through in per cent of the limit that is tighter for these calls. Once more with a FLUSHALL on"
        " the broker in the middle, whereupon the limiter waits some seconds.",
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
