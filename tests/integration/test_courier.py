"""The courier: alerts are delivered beside the work, and nothing waits for a mail server that hangs."""

import base64
from contextlib import ExitStack
from pathlib import Path

import pytest

from batchmill.alerts.delivery import DeliveryState
from batchmill.errors import StoppedError
from batchmill.settings import Settings, load_settings
from db import alerts, schema
from db.engine import Database
from tests.support.budgets import add_budget, fire
from tests.support.clocks import PATIENCE_S
from tests.support.mill import wait_until
from tests.support.receivers import Hanging, MailServer, WebhookServer, served
from workers.courier import Courier

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def with_mail(tmp_path: Path, port: int, **others: str) -> Settings:
    environ = {"SMTP_URL": f"smtp://127.0.0.1:{port}", "ADMIN_EMAILS": "a@acme.test"}
    return load_settings(environ | others | {"BATCHMILL_HOME": str(tmp_path)}, None)


def mail_states(database: Database) -> list[tuple[DeliveryState, str]]:
    with database.read() as tx:
        found = alerts.listed(tx, most=9)
    return [(one.state, one.error) for _, tried in found for one in tried if one.channel == "mail"]


def test_delivered_while_the_work_goes_on(database: Database, tmp_path: Path) -> None:
    """An alert that fires meanwhile arrives meanwhile."""
    budget = add_budget(database, 5_000_000_000)
    with MailServer().up() as server, Courier(with_mail(tmp_path, server.port), database):
        fire(database, budget)
        wait_until(lambda: len(server.mails) == 1, PATIENCE_S)
    assert len(server.mails) == 1


def test_once_more_at_the_end(database: Database, tmp_path: Path) -> None:
    """What failed before, and would wait for its next try, is tried before the command ends."""
    fire(database, add_budget(database, 5_000_000_000))
    server = MailServer()
    with ExitStack() as stack:
        with Courier(with_mail(tmp_path, server.port), database, last_try_s=PATIENCE_S):
            wait_until(lambda: any(error for _, error in mail_states(database)), PATIENCE_S)
            stack.enter_context(server.up())
        assert len(server.mails) == 1


@pytest.mark.parametrize("error", [None, StoppedError("stopped at once", "", True)])
def test_a_server_that_hangs_holds_nothing_up(
    database: Database, tmp_path: Path, error: StoppedError | None
) -> None:
    """The work ends while the mail is still being tried; stopped at once, it is not even waited for."""
    hanging = Hanging()
    fire(database, add_budget(database, 5_000_000_000))
    courier = Courier(with_mail(tmp_path, hanging.port), database, last_try_s=0.1 if error is None else 1e6)
    with served(hanging.listen):
        try:
            with courier:
                assert hanging.called.wait(PATIENCE_S)
                if error is not None:
                    raise error
        except StoppedError:
            pass
        assert courier.is_at_work
        assert mail_states(database) == [(DeliveryState.PENDING, "")]
    wait_until(lambda: not courier.is_at_work, PATIENCE_S)
    [(state, why)] = mail_states(database)
    assert state is DeliveryState.PENDING
    assert f"mail server 127.0.0.1:{hanging.port}: " in why


def test_a_mail_server_that_hangs_keeps_no_post_back(database: Database, tmp_path: Path) -> None:
    """The webhook has its alert while the mail is still being tried."""
    hanging, webhook = Hanging(), WebhookServer()
    secret = base64.b64encode(bytes(32)).decode()
    variables = {"BATCHMILL_WEBHOOK_URL": webhook.url, "BATCHMILL_WEBHOOK_SECRET": secret}
    fire(database, add_budget(database, 5_000_000_000))
    with webhook.up(), served(hanging.listen):
        courier = Courier(with_mail(tmp_path, hanging.port, **variables), database, last_try_s=0.1)
        with courier:
            assert hanging.called.wait(PATIENCE_S)
            wait_until(lambda: len(webhook.posts) == 1, PATIENCE_S)
            assert mail_states(database) == [(DeliveryState.PENDING, "")]
    wait_until(lambda: not courier.is_at_work, PATIENCE_S)


def test_a_database_that_is_away_ends_nothing(database: Database, tmp_path: Path) -> None:
    """The courier outlives a database that it cannot ask, and delivers when that is back."""
    path = tmp_path / "late" / "batchmill.db"
    late = Database(f"sqlite:///{path}")
    with MailServer().up() as server:
        with Courier(with_mail(tmp_path, server.port), late, last_try_s=PATIENCE_S):
            wait_until(path.exists, PATIENCE_S)  # it has looked, and found no table
            schema.upgrade(late)
            fire(late, add_budget(late, 5_000_000_000))
        assert len(server.mails) == 1
    late.close()
