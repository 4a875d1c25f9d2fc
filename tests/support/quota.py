"""A run of several worker processes against a sandbox with true sliding windows: how much of its limits is used."""

import json
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.support.mill import Mill, chat_line, sandbox, write_lines
from workers.broker import EmbeddedBroker

MODEL = "gpt-4o-mini"
RPM, TPM = 600, 60_000
PROCESSES = 4
WORDS = (0, 0, 10, 20, 40, 80, 200, 800)
MAX_TOKENS = (16, 16, 30, 60, 200)
"""Of a question's filling and its answer: some twenty to a thousand tokens, a hundred and fifty on average."""
GRACE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What came of it.

    Attributes:
        refused: Calls that were answered with 429.
        refused_late: Those of them that came in the second half.
        requests_percent: How much of the limit of requests was used in the time looked at.
        tokens_percent: The same of tokens, as the sandbox counts them.
    """

    calls: int
    refused: int
    refused_late: int
    requests_percent: float
    tokens_percent: float

    @property
    def percent(self) -> float:
        """How much of the tighter limit was used."""
        return max(self.requests_percent, self.tokens_percent)


def use_up(
    folder: Path,
    *,
    seconds: float,
    per_second: bool = False,
    flush_after_s: Sequence[float] = (),
    are_set: bool = True,
    processes: int = PROCESSES,
    seed: int = 1,
) -> Used:
    """Send as fast as the limits let one, from a cold start.

    Args:
        seconds: How long is looked at, from the first call on.
        per_second: The sandbox holds each second to its part of the requests as well.
        are_set: The limits are set; else they have to be learned from what the sandbox says.
        flush_after_s: When the broker forgets everything, from the first call on.
    """
    draw = random.Random(seed)
    costs, lines = [], []
    for nth in range(int(RPM / 60 * (seconds + GRACE_S))):
        words, longest = draw.choice(WORDS), draw.choice(MAX_TOKENS)
        lines.append(chat_line(f"c{nth}", f"q{nth}" + " word" * words, model=MODEL, max_tokens=longest))
        costs.append(longest)
    options = ["--rpm", str(RPM), "--tpm", str(TPM), "--latency", "0.2-0.6"]
    with sandbox(folder, *options, *(["--per-second"] if per_second else [])) as provider:
        mill = Mill(folder=folder, environ={"OPENAI_BASE_URL": provider.url})
        try:
            if are_set:
                _set_limits(mill)
            source = write_lines(folder / "in.jsonl", lines)
            process = mill.start(
                "run", source, "-o", folder / "out.jsonl", "--workers", str(processes), "--concurrency", "128"
            )
            first_s = _wait_for_first(provider.log)
            for after_s in flush_after_s:
                time.sleep(max(0.0, first_s + after_s - time.time()))
                _flush(mill.home)
            time.sleep(max(0.0, first_s + seconds - time.time()))
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=GRACE_S)
        finally:
            mill.close()
        calls = [call for call in provider.calls() if call["time"] < first_s + seconds]
    answered = [call for call in calls if call["outcome"] == 200]
    tokens = sum(call["input_tokens"] + costs[_line_of(call)] for call in answered)
    minutes = seconds / 60
    return Used(
        calls=len(calls),
        refused=len(calls) - len(answered),
        refused_late=sum(call["outcome"] != 200 and call["time"] > first_s + seconds / 2 for call in calls),
        requests_percent=len(answered) / (RPM * minutes) * 100,
        tokens_percent=tokens / (TPM * minutes) * 100,
    )


def _set_limits(mill: Mill) -> None:
    done = mill.quickly(
        "providers", "limit", "openai", "--model", MODEL, "--rpm", str(RPM), "--tpm", str(TPM)
    )
    assert done.returncode == 0, done.stderr


def _line_of(call: dict[str, str]) -> int:
    """Which of the lines a call was for, counted from 0: its name ends so, before the number of the attempt."""
    return int(call["client_request_id"].split("/")[-2].rsplit("_", 1)[-1]) - 1


def _wait_for_first(log: Path) -> float:
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline:
        lines = log.read_text().split("\n")
        if len(lines) > 1:
            return float(json.loads(lines[0])["time"])
        time.sleep(0.02)
    raise AssertionError("no call was made")


def _flush(home: Path) -> None:
    with suppress(redis.ConnectionError):
        redis.Redis.from_url(EmbeddedBroker(home).url.replace("redis+socket://", "unix://", 1)).flushall()
