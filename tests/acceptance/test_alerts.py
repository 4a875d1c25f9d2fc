"""Alerts, from the call that crosses the line to the mail and the webhook."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from batchmill.budgets.model import Period, Scope
from db import schema
from db.engine import Database
from tests.support.budgets import add_budget, fire
from tests.support.mill import Mill, chat_line, sandbox, write_lines
from tests.support.receivers import MailServer, WebhookServer

PASSWORD = "pa55-w0rd"
KEY = "whsec_" + base64.b64encode(bytes(range(32))).decode()
ONE_DOLLAR = 1_000_000_000


def home_database(mill: Mill) -> Database:
    """The embedded database, of our schema."""
    database = Database(f"sqlite:///{mill.home}/batchmill.db")
    schema.upgrade(database)
    return database


def set_up(mill: Mill, mail: MailServer, webhook: WebhookServer) -> None:
    """Both channels, with everything in them that is not to be told."""
    mill.environ |= {
        "OPENAI_BASE_URL": "http://127.0.0.1:9",
        "SMTP_URL": f"smtp://ops:{PASSWORD}@127.0.0.1:{mail.port}",
        "MAIL_FROM": "mill@acme.test",
        "ADMIN_EMAILS": "a@acme.test",
        "BATCHMILL_WEBHOOK_URL": webhook.url,
        "BATCHMILL_WEBHOOK_SECRET": KEY,
    }


def assert_nothing_told(*texts: str) -> None:
    for secret in (PASSWORD, KEY.removeprefix("whsec_"), "t0p-s3cret"):
        assert not any(secret in text for text in texts)


def test_a_run_tells_of_its_budget(mill: Mill, tmp_path: Path) -> None:
    """A run that uses a part of a budget: one line in its log, one mail, one POST, and no secret anywhere."""
    mail, webhook = MailServer(login=("ops", PASSWORD)), WebhookServer()
    set_up(mill, mail, webhook)
    database = home_database(mill)
    add_budget(
        database, ONE_DOLLAR // 100, scope=Scope.TENANT, name="acme", period=Period.DAY, thresholds="1,90"
    )
    database.close()
    path = write_lines(
        tmp_path / "in.jsonl", [chat_line(f"c{n}", f"question {n}", max_tokens=20) for n in range(30)]
    )
    with sandbox(tmp_path) as provider, mail.up(), webhook.up():
        mill.environ["OPENAI_BASE_URL"] = provider.url
        done = mill("run", path, "-o", tmp_path / "out.jsonl", "--tenant", "acme", "--json")
    assert done.returncode == 0, done.stderr
    [subject], [post] = mail.subjects, webhook.posts
    assert subject.startswith("[batchmill] 1 % of the daily budget of tenant acme used: $0.000")
    assert post.document["data"]["verdict"] == subject.removeprefix("[batchmill] ")
    assert done.stderr.count("budget_alert") == 1
    states = mill.query("SELECT channel, state, tries FROM alert_deliveries ORDER BY channel")
    assert states == [("log", "sent", 1), ("mail", "sent", 1), ("webhook", "sent", 1)]
    config = mill.quickly("config", "--json").stdout
    assert_nothing_told(
        done.stdout, done.stderr, mill.worker_log(), config, "\n".join(map(str, mill.processes()))
    )


def shown(mill: Mill, *options: str) -> Any:
    done = mill.quickly("budget", "alerts", "--json", *options)
    assert_nothing_told(done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_alerts_are_listed_with_what_became_of_them(mill: Mill) -> None:
    """Newest first, with every channel's state; what failed says why."""
    mail, webhook = MailServer(), WebhookServer()
    set_up(mill, mail, webhook)
    database = home_database(mill)
    fire(database, add_budget(database, 5 * ONE_DOLLAR, scope=Scope.TENANT, name="acme"), "90")
    with webhook.up():
        assert mill.quickly("worker", "--until-idle").returncode == 0
    [alert] = shown(mill)
    assert alert["verdict"] == "90 % of the budget of tenant acme used: $4.51 of $5.00"
    assert (alert["type"], alert["severity"], alert["limit_usd"]) == ("budget.threshold", "critical", "5")
    by_channel = {one["channel"]: one for one in alert["deliveries"]}
    assert {name: one["state"] for name, one in by_channel.items()} == {
        "log": "sent",
        "mail": "pending",
        "webhook": "sent",
    }
    assert f"mail server 127.0.0.1:{mail.port}: Error connecting" in by_channel["mail"]["error"]
    [finding] = [
        one
        for one in json.loads(mill.quickly("doctor", "--json").stdout)["findings"]
        if one["check"] == "alerts"
    ]
    assert finding["level"] == "warning"
    assert finding["message"] == "they go to: log, mail, webhook; not delivered so far: 1, given up: 0"
    told = mill.quickly("budget", "alerts")
    assert told.stdout.split()[-3:] == ["sent", "pending", "sent"]
    assert "mail: 1 alert will be tried again: mail server" in told.stderr
    database.close()


def test_who_was_refused_is_told(mill: Mill) -> None:
    """A mail that one of two got counts as sent; whoever looks at the alerts reads who did not get it."""
    mail, webhook = MailServer(login=("ops", PASSWORD), refused=("b@acme.test",)), WebhookServer()
    set_up(mill, mail, webhook)
    mill.environ["ADMIN_EMAILS"] = "a@acme.test,b@acme.test"
    database = home_database(mill)
    fire(database, add_budget(database, 5 * ONE_DOLLAR), "90")
    database.close()
    with mail.up(), webhook.up():
        assert mill.quickly("worker", "--until-idle").returncode == 0
    told = mill.quickly("budget", "alerts")
    assert told.stdout.split()[-3:] == ["sent", "sent", "sent"]
    assert "mail: 1 alert did not reach everybody: b@acme.test was refused: 550" in told.stderr


def test_no_alerts_are_no_error(mill: Mill) -> None:
    """Without a database, and with an empty one: nothing is made, and it is said that there are none."""
    told = mill.quickly("budget", "alerts")
    assert (told.returncode, told.stdout) == (0, "")
    assert told.stderr == "no budget has given an alert yet\n"
    assert shown(mill) == []
    assert not mill.home.exists()


@pytest.mark.parametrize("is_up", [True, False])
def test_a_test_goes_through_every_channel(mill: Mill, is_up: bool) -> None:
    """Each tells how it went; one that does not work makes the command fail, and says what to look at."""
    mail, webhook = MailServer(login=("ops", PASSWORD)), WebhookServer()
    set_up(mill, mail, webhook)
    if is_up:
        with mail.up(), webhook.up():
            done = mill.quickly("budget", "alerts", "--test")
        assert done.returncode == 0, done.stderr
        assert mail.subjects == ["[batchmill] this is a test: alerts of budgets arrive here"]
        assert len(webhook.posts) == 1
    else:
        done = mill.quickly("budget", "alerts", "--test")
        assert done.returncode == 1
        assert "hint: check SMTP_URL" in done.stderr
        assert "hint: check BATCHMILL_WEBHOOK_URL" in done.stderr
    assert_nothing_told(done.stdout, done.stderr)


def test_a_half_set_up_channel_is_named(mill: Mill) -> None:
    """One of two variables is an error of the test, and a warning of whoever would have to deliver."""
    mill.environ |= {"ADMIN_EMAILS": "a@acme.test", "OPENAI_BASE_URL": "http://127.0.0.1:9"}
    done = mill.quickly("budget", "alerts", "--test", "--json")
    assert done.returncode == 1
    rows = {row["channel"]: row for row in json.loads(done.stdout)}
    assert rows["log"]["delivered"] is True
    assert (rows["mail"]["delivered"], rows["mail"]["error"]) == (False, "SMTP_URL is not set")
    worker = mill.quickly("worker", "--until-idle")
    assert "alert_channel_not_set_up" in worker.stderr
    assert "SMTP_URL" in worker.stderr
