"""kill -9 of everything, half-way: the same command finishes the batch, and every call too many is on the books."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mill import Mill, chat_line, read_lines, sandbox, wait_until, write_lines
from tests.support.servers import PostgresCluster

SEEDS = int(os.environ.get("SEEDS", "1"))
LINES = int(os.environ.get("CHAOS_LINES", "600"))
IN_FLIGHT = 64


@pytest.fixture(params=["embedded", "shared"])
def any_mill(request: pytest.FixtureRequest, mill: Mill) -> Iterator[Mill]:
    """An installation on SQLite with its own broker, and one on PostgreSQL and a Valkey that others share."""
    if request.param == "embedded":
        yield mill
        return
    postgres: PostgresCluster = request.getfixturevalue("postgres")
    url = postgres.create()
    mill.environ |= {"DATABASE_URL": url, "BROKER_URL": request.getfixturevalue("valkey_url")}
    yield mill
    mill.kill_everything()
    postgres.drop(url)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_half_way_and_run_again(any_mill: Mill, tmp_path: Path, seed: int) -> None:
    """Complete, each line once; what was called twice was unknown, and is recorded so; at most the calls in flight."""
    mill = any_mill
    source = write_lines(tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}") for n in range(LINES)])
    output = tmp_path / "out.jsonl"
    command = ("run", source, "-o", output, "--concurrency", str(IN_FLIGHT))
    half = LINES // 2 + random.Random(seed).randint(-LINES // 5, LINES // 5)
    with sandbox(tmp_path, "--latency", "0.2-0.6", "--seed", str(seed)) as witness:
        mill.environ["OPENAI_BASE_URL"] = witness.url
        first = mill.start(*command)
        wait_until(lambda: len(witness.calls()) >= half, 60)
        mill.kill_everything()
        first.communicate()
        assert not output.exists()
        report = mill.run(*command[1:])
        calls = witness.calls()
    answers = read_lines(output)
    assert [answer["custom_id"] for answer in answers] == [f"c{n}" for n in range(LINES)]
    assert report["completed"] == LINES
    extra = len(calls) - LINES
    assert extra <= report["unknown_attempts"] <= IN_FLIGHT
    assert report["calls"] == LINES + report["unknown_attempts"]
    names = [call["client_request_id"] for call in calls]
    assert len(set(names)) == len(names)
    assert mill.processes() == []
