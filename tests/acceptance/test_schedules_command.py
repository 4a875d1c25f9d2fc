"""`batchmill schedules`: what runs by itself is shown as it is, and run by hand."""

import json
from typing import Any

from tests.support.mill import Mill

LONG_GONE = 1_000


def told(mill: Mill, *arguments: str) -> Any:
    """What the command prints as JSON."""
    done = mill.quickly("schedules", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_by_hand_and_shown(mill: Mill) -> None:
    """A job is run by hand, without a broker, and then shown with what came of it; the times are those set."""
    mill.environ |= {"BATCHMILL_AT_ALERTS": "0 7 * * mon-fri", "BROKER_URL": "redis://127.0.0.1:9/0"}
    assert [job["last_run"] for job in told(mill, "list") if job["job"] in ("sweep", "alerts")] == [
        None,
        None,
    ]
    done = mill.quickly("schedules", "run", "alerts")
    assert (done.returncode, done.stdout.startswith("is all delivered: yes")) == (0, True), done.stderr
    assert told(mill, "run", "alerts")["is_all_delivered"] is True
    [shown] = [job for job in told(mill, "list") if job["job"] == "alerts"]
    assert (shown["when"], shown["when_in_words"]) == ("0 7 * * mon-fri", "At 07:00 on Monday through Friday")
    assert shown["next_due_at"].endswith("T07:00:00Z")
    assert (shown["last_run"]["state"], shown["last_run"]["outcome"]) == ("done", done.stdout.strip())
    assert [run["tries"] for run in told(mill, "list", "alerts")] == [1, 1]
    assert len(told(mill, "list", "--runs", "1")) == 1
    table = mill.quickly("schedules", "list").stdout
    assert "0 7 * * mon-fri" in table
    assert "is all delivered: yes" in table


def test_what_goes_wrong(mill: Mill) -> None:
    """A job that fails, one that another is at, one that there is none of: told, exit status 1. Killed is shown so."""
    mill.environ["BATCHMILL_CACHE_TTL"] = "default=soon"
    assert "BATCHMILL_CACHE_TTL" in mill.refused("schedules", "run", "sweep")
    [run] = told(mill, "list", "sweep")
    assert (run["state"], run["tries"]) == ("failed", 1)
    assert "BATCHMILL_CACHE_TTL" in run["error"]
    del mill.environ["BATCHMILL_CACHE_TTL"]
    mill.execute(f"UPDATE schedules SET lease_until_ms = {2**50}")
    assert "sweep is being run by another right now" in mill.refused("schedules", "run", "sweep")
    mill.execute("UPDATE schedule_runs SET state = 'running'")
    mill.execute(f"UPDATE schedules SET lease_until_ms = {LONG_GONE}")
    assert told(mill, "list", "sweep")[0]["state"] == "killed"
    assert "jobs are sweep, alerts" in mill.refused("schedules", "run", "sweeep")


def test_at_home(mill: Mill) -> None:
    """What the mill of a home does by itself is told so, with the last sweep."""
    assert mill.quickly("schedules", "run", "sweep").returncode == 0
    shown = told(mill, "list")[0]
    assert (shown["job"], shown["next_due_at"]) == ("sweep", None)
    assert "do it all the time; last at 20" in shown["note"]
    done = mill.quickly("schedules", "list")
    assert "all the time" in done.stdout
    assert "sweep: `batchmill up`" in done.stderr
