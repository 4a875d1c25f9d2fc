"""What the demo asks of the outside world: the sandbox's own bill, the result file, a kill -9, the database.

python witness.py bill URL               calls and cost, as the sandbox counted them
python witness.py complete FILE QUESTIONS   every question answered once, in order, or exit status 1
python witness.py answer FILE NTH        the NTH line of a result file, shortened
python witness.py kill PID URL CALLS     wait for so many calls, then kill -9 the process and all it started
python witness.py unknown DATABASE       the calls of the newest batch that may have been billed
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from batchmill.money.nanos import format_usd

PATIENCE_S = 20.0


def main(what: str, *arguments: str) -> None:
    """Do what the command line says."""
    commands = {"bill": bill, "complete": complete, "answer": answer, "kill": kill, "unknown": unknown}
    commands[what](*arguments)


def bill(url: str) -> None:
    """Print calls and cost, as the sandbox counted them."""
    statement = _statement(url)
    print(f"{statement['calls']} calls, {format_usd(statement['cost_nanos'])}")


def complete(answers: str, questions: str) -> None:
    """Exit with status 1 unless every question has its answer, once and in order."""
    names = [
        [json.loads(line)["custom_id"] for line in Path(path).read_text(encoding="utf-8").splitlines()]
        for path in (answers, questions)
    ]
    if names[0] != names[1]:
        sys.exit(f"{answers} does not hold each line of {questions} once and in order")
    print(f"{len(names[0])} lines, each once, in input order")


def answer(path: str, nth: str) -> None:
    """Print one line of a result file without the provider's small print."""
    line = json.loads(Path(path).read_text(encoding="utf-8").splitlines()[int(nth) - 1])
    response = line["response"]
    choice, usage = response["body"]["choices"][0], response["body"]["usage"]
    print(line["custom_id"], response["status_code"], choice["message"]["content"], sep=" | ", end=" | ")
    print(f"{usage['prompt_tokens']} tokens in, {usage['completion_tokens']} out")


def kill(pid: str, url: str, calls: str) -> None:
    """Wait until the sandbox has received so many calls, then kill -9 a process and everything it started."""
    deadline = time.monotonic() + PATIENCE_S
    while _statement(url)["calls"] < int(calls):
        if time.monotonic() > deadline:
            sys.exit(f"there were not {calls} calls within {PATIENCE_S:.0f} s")
        time.sleep(0.02)
    time.sleep(0.15)  # mid-way between two waves of calls
    doomed = [int(pid)]
    children = _children()
    for parent in doomed:
        doomed += children.get(parent, [])
    for process in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def unknown(database: str) -> None:
    """Print what the database knows of the cut-off calls of the newest batch."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT a.error, count(*) FROM attempts a JOIN requests r ON r.id = a.request_id"
            " WHERE a.state = 'unknown' AND r.batch_id = (SELECT max(id) FROM batches) GROUP BY a.error"
        ).fetchall()
    for error, count in rows:
        print(f"{count} calls recorded as unknown: {error}")


def _statement(url: str) -> dict[str, int]:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/sandbox/bill", timeout=5) as response:
        statement: dict[str, int] = json.load(response)
    return statement


def _children() -> dict[int, list[int]]:
    """Every process's children; from /proc where there is one, else from ps."""
    pairs = []
    if Path("/proc/self/stat").exists():
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                pairs.append((int(entry.parent.name), int(entry.read_text().rsplit(")", 1)[1].split()[1])))
            except OSError:
                continue  # it has just ended
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        pairs = [(int(pid), int(parent)) for pid, parent in map(str.split, listed.stdout.splitlines())]
    found: dict[int, list[int]] = {}
    for pid, parent in pairs:
        found.setdefault(parent, []).append(pid)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
