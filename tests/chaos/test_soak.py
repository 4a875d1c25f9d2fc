"""A batch as large as they come: killed on its way, answered once, in memory that does not grow with it.

`make chaos` does it with twenty thousand lines, `make soak` with a million.
"""

import json
import os
import random
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.processes import peak_bytes
from tests.support.mill import Mill, Sandbox, chat_line, sandbox, wait_until

LINES = int(os.environ.get("SOAK_LINES", "20000"))
KILLS = 2
PATIENCE_S = 60 + LINES / 250
MOST_GROWTH = 1.10
NAME = re.compile(rb'"custom_id":\s?"c([0-9]+)"')


def calls(provider: Sandbox) -> int:
    """How many the provider has seen; its log would be long to read."""
    with urllib.request.urlopen(provider.url.removesuffix("/v1") + "/sandbox/bill") as answer:
        return int(json.load(answer)["calls"])


def peaks(mill: Mill) -> dict[str, int]:
    """The most that each part ever held by now: of those that make calls the largest, and the launcher."""
    launcher = mill.started[-1].pid
    return {
        "worker": max(map(peak_bytes, mill.worker_children()), default=0),
        "launcher": peak_bytes(launcher),
    }


def names_in(path: Path) -> Iterator[int]:
    """Whose lines a result file has, as they come."""
    with path.open("rb") as file:
        for line in file:
            found = NAME.search(line)
            assert found is not None, line[:200]
            yield int(found[1])


@pytest.mark.large
@pytest.mark.timeout(0)
def test_a_very_large_batch(everywhere: Mill, tmp_path: Path) -> None:
    """Killed as a whole twice and started again: every line once and in order, the books sound beside the provider's
    log, and a process that has answered half of it holds hardly more than when it began."""
    draw = random.Random(LINES)
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    with source.open("w") as file:
        file.writelines(chat_line(f"c{nth}", f"question {nth}") + "\n" for nth in range(LINES))
    with sandbox(tmp_path) as provider:
        everywhere.environ["OPENAI_BASE_URL"] = provider.url
        command = ("run", source, "-o", output, "--json")
        for nth in range(KILLS):
            process = everywhere.start(*command)
            until = LINES * (nth + draw.random()) / (2 * KILLS)
            wait_until(lambda until=until: calls(provider) >= until, PATIENCE_S)
            everywhere.kill_everything()
            process.communicate()
            assert not output.exists()
        process = everywhere.start(*command)
        begun = calls(provider)
        wait_until(lambda: calls(provider) - begun >= min(10_000, LINES // 10), PATIENCE_S)
        before = peaks(everywhere)
        wait_until(lambda: calls(provider) >= LINES * 0.98, PATIENCE_S)
        after = peaks(everywhere)
        said, complaints = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, complaints
        report, made = json.loads(said), calls(provider)
        doctor = everywhere.quickly("doctor", "--witness", str(provider.log), timeout_s=PATIENCE_S)
    assert doctor.returncode == 0, doctor.stdout
    assert list(names_in(output)) == list(range(LINES))
    assert LINES <= made <= LINES + report["unknown_attempts"]
    growth = {part: after[part] / before[part] for part in before}
    print(
        f"\n{LINES:,} lines, {KILLS} kills: {made - LINES} calls again, {report['unknown_attempts']} unknown;"
        f" peaks {', '.join(f'{part} {held / 1e6:.0f} MB ({growth[part]:.3f} x)' for part, held in after.items())}"
    )
    assert max(growth.values()) < MOST_GROWTH, "§10.12 memory grows with the batch"
