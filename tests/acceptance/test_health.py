"""`batchmill health` and `batchmill alerts`, as a user asks."""

import json
from typing import Any

from batchmill.settings import load_settings
from batchmill.settings.schedules import JobName
from db.engine import Database
from tests.support.budgets import add_budget, fire
from tests.support.clocks import FakeClock
from tests.support.mill import Mill
from tests.support.receivers import WebhookServer
from workers.assembly import prepare
from workers.jobs import health as job
from workers.jobs.run import JobRun

NOWHERE = "http://127.0.0.1:9/v1"
KEY = "whsec_" + "QUFB" * 10
ROUND_MS = 300_000


def shown(mill: Mill, *arguments: str, status: int = 0) -> Any:
    """What a command prints as JSON; it has to end so."""
    done = mill.quickly(*arguments, "--json")
    assert done.returncode == status, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def levels(health: Any) -> dict[str, str]:
    return {one["component"]: one["level"] for one in health["components"]}


def run_job(mill: Mill, times: int) -> None:
    """What the mill does every five minutes, the last time now."""
    settings = load_settings(mill.environment(), None)
    with_now = Database(settings.database.url)
    prepare(with_now)
    clock = FakeClock(with_now.now_ms() - (times - 1) * ROUND_MS)
    with_now.close()
    database = Database(settings.database.url, clock)
    for _ in range(times):
        job.run(JobRun(job=JobName.HEALTH, due_ms=clock.now_ms(), settings=settings, database=database))
        clock.advance(ROUND_MS)
    database.close()


def test_looked_at_now(mill: Mill) -> None:
    """Every component, the worst first, with what to do; nothing of it is noted, so nothing is known afterwards."""
    mill.environ |= {"OPENAI_API_KEY": "", "LOCAL_BASE_URL": NOWHERE}
    health = shown(mill, "health", "--now", status=1)
    found = levels(health)
    disk = next(name for name in found if name.startswith("disk:"))
    assert found == {
        "provider:local": "failing",
        **dict.fromkeys(("broker", "database", disk, "jobs"), "ok"),
        **dict.fromkeys(("queue:high", "queue:low", "queue:normal", "workers"), "ok"),
    }
    assert (health["well"], health["components"][0]["component"]) == (False, "provider:local")
    assert "providers health local" in health["components"][0]["hint"]
    told = mill.quickly("health")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("nothing has been checked yet")
    mill.environ["LOCAL_BASE_URL"] = ""
    assert shown(mill, "health", "--now")["well"] is True


def test_a_database_that_is_away(mill: Mill) -> None:
    """It is one of the findings, and no password is told; the others are told beside it."""
    mill.environ |= {
        "OPENAI_API_KEY": "",
        "DATABASE_URL": "postgresql://me:pa55-w0rd@127.0.0.1:9/none",
        "BROKER_URL": "redis://127.0.0.1:9",
    }
    done = mill.quickly("health", "--now", "--json")
    assert done.returncode == 1, done.stderr
    found = levels(json.loads(done.stdout))
    assert (found["database"], found["broker"]) == ("failing", "failing")
    assert next(level for name, level in found.items() if name.startswith("disk:")) == "ok"
    assert "pa55" not in done.stdout + done.stderr


def test_as_last_checked(mill: Mill) -> None:
    """What the job found, since when; what has changed; and the alert that it gave, beside those of budgets."""
    hook = WebhookServer()
    mill.environ |= {"OPENAI_API_KEY": "", "LOCAL_BASE_URL": NOWHERE}
    mill.environ |= {"BATCHMILL_WEBHOOK_URL": hook.url, "BATCHMILL_WEBHOOK_SECRET": KEY}
    run_job(mill, 3)
    health = shown(mill, "health", status=1)
    first = health["components"][0]
    assert (first["component"], first["level"], first["told_level"]) == (
        "provider:local",
        "failing",
        "failing",
    )
    assert first["since"] == first["ill_since"] < first["checked_at"]
    assert (health["overdue"], [one["level"] for one in health["changes"]]) == (False, ["failing"])
    people = mill.quickly("health")
    assert people.stdout.splitlines()[1].startswith("failing  provider:local  20")
    assert "provider:local: `batchmill providers health local` asks again" in people.stderr
    assert "provider:local" in mill.quickly("health", "--changes").stdout
    database = Database(f"sqlite:///{mill.home}/batchmill.db")
    fire(database, add_budget(database, 5_000_000_000), "90")
    database.close()
    assert {alert["type"] for alert in shown(mill, "alerts", "list")} == {
        "budget.threshold",
        "health.failing",
    }
    [alert] = shown(mill, "alerts", "list", "--topic", "health")
    assert (alert["component"], alert["severity"], alert["deliveries"]) == ("provider:local", "critical", [])
    assert [alert["type"] for alert in shown(mill, "budget", "alerts")] == ["budget.threshold"]
    with hook.up():
        worker = mill.quickly("worker", "--until-idle")
    assert (worker.returncode, worker.stderr.count("health_alert")) == (0, 1)
    with hook.up():
        assert mill.quickly("alerts", "test").returncode == 0
    assert [post.document["type"] for post in hook.posts][-1] == "alert.test"
    assert {post.document["type"] for post in hook.posts} == {
        "budget.threshold",
        "health.failing",
        "alert.test",
    }


def test_there_has_been_no_alert(mill: Mill) -> None:
    """That is no error."""
    told = mill.quickly("alerts", "list")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "there has been no alert yet\n")
