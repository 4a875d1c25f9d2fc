"""Alerts: what they say, how they are signed, when they are tried again."""

import base64
import re
from dataclasses import replace
from email import message_from_bytes, policy

import pytest

from batchmill.alerts.budget import BudgetAlert, BudgetEvent
from batchmill.alerts.delivery import wait_ms
from batchmill.alerts.mail import MailChannel
from batchmill.alerts.message import Severity, trial_message
from batchmill.alerts.webhook import body_of
from batchmill.budgets.model import Budget, Period, Scope
from batchmill.settings.alerts import MailServer
from batchmill.webhooks.receiver import sign

ACME = Budget(
    scope=Scope.TENANT, name="acme", period=Period.DAY, zone="Europe/Berlin", limit_nanos=5_000_000_000
)
ALERT = BudgetAlert(
    id=12,
    kind=BudgetEvent.THRESHOLD,
    detail="90",
    at_ms=1_800_000_000_000,
    spent_nanos=4_510_000_000,
    limit_nanos=5_000_000_000,
    budget=ACME,
    start_ms=1_799_967_600_000,
    end_ms=1_800_054_000_000,
)
SENDER = MailChannel(
    MailServer(host="mail.test", port=587, is_tls=False),
    sender="Mill <mill@acme.test>",
    recipients=["a@acme.test"],
)


@pytest.mark.parametrize(
    ("changes", "verdict", "severity"),
    [
        ({}, "90 % of the daily budget of tenant acme used: $4.51 of $5.00", Severity.CRITICAL),
        (
            {"detail": "75", "spent_nanos": 3_750_000_000},
            "75 % of the daily budget of tenant acme used: $3.75 of $5.00",
            Severity.WARNING,
        ),
        (
            {"detail": "100", "spent_nanos": 5_000_000_000},
            "100 % of the daily budget of tenant acme used: $5.00 of $5.00",
            Severity.EXCEEDED,
        ),
        (
            {"detail": "100", "spent_nanos": 4_990_000_000},
            "the daily budget of tenant acme is used up: $4.99 of $5.00, and the next call may cost more than what"
            " is left",
            Severity.EXCEEDED,
        ),
        (
            {"kind": BudgetEvent.OVERRUN, "detail": "openai/gpt-4o"},
            "a call of openai/gpt-4o cost more than was held for it on the daily budget of tenant acme: $4.51 of"
            " $5.00 used",
            Severity.CRITICAL,
        ),
    ],
)
def test_the_verdict_is_one_line(changes, verdict, severity):
    """What happened, to which budget, and how much of it is used: enough to decide on, in a subject."""
    message = replace(ALERT, **changes).told()
    assert (message.verdict, message.severity) == (verdict, severity)


def test_the_text_says_what_follows_and_what_to_do():
    """When, how far, when it turns in the budget's own zone, what happens at the limit, and the commands."""
    assert ALERT.told().text == (
        "90 % of the daily budget of tenant acme used: $4.51 of $5.00.\n"
        "\n"
        "when:         2027-01-15 09:00 Europe/Berlin\n"
        "used:         $4.51 of $5.00 (90.2%)\n"
        "turns:        2027-01-16 00:00 Europe/Berlin\n"
        "at the limit: batches wait until it turns or is raised\n"
        "\n"
        "`batchmill budget show tenant acme` shows it\n"
        "`batchmill budget set tenant acme --day USD` raises it\n"
    )


def test_a_total_of_zero_has_no_percentage_and_never_turns():
    """Neither the division nor the calendar stumbles over a budget without a limit above zero, or without an end."""
    budget = Budget(scope=Scope.GLOBAL, period=Period.TOTAL, limit_nanos=0)
    message = replace(ALERT, budget=budget, limit_nanos=0, start_ms=0, end_ms=None).told()
    assert "used:         $4.51 of $0.00\nturns:        never\n" in message.text
    assert (message.facts["period_start"], message.facts["period_end"]) == (None, None)
    assert (message.facts["name"], message.facts["limit_usd"]) == (None, "0")


def test_programs_get_exact_amounts_and_times():
    """Dollars as exact decimal text, times in UTC; the type tells the kinds apart."""
    assert body_of(ALERT.told()) == {
        "type": "budget.threshold",
        "timestamp": "2027-01-15T08:00:00Z",
        "data": {
            "severity": "critical",
            "verdict": "90 % of the daily budget of tenant acme used: $4.51 of $5.00",
            "scope": "tenant",
            "name": "acme",
            "period": "day",
            "timezone": "Europe/Berlin",
            "period_start": "2027-01-14T23:00:00Z",
            "period_end": "2027-01-15T23:00:00Z",
            "threshold_percent": 90,
            "model": None,
            "spent_usd": "4.51",
            "limit_usd": "5",
        },
    }
    overrun = replace(ALERT, kind=BudgetEvent.OVERRUN, detail="openai/gpt-4o").told()
    assert (overrun.type, overrun.facts["model"]) == ("budget.overrun", "openai/gpt-4o")


def test_the_same_alert_is_the_same_mail():
    """Composed anew for another try, it is byte for byte what was sent: mail programs show one of them."""
    mail, again = SENDER.compose(ALERT.told()), SENDER.compose(replace(ALERT).told())
    assert bytes(mail) == bytes(again)
    assert mail["Message-ID"] == "<budget-alert-12-1800000000000@acme.test>"
    assert mail["Subject"] == "[batchmill] 90 % of the daily budget of tenant acme used: $4.51 of $5.00"
    assert (mail["From"], mail["To"]) == ("Mill <mill@acme.test>", "a@acme.test")


def test_a_name_adds_no_header():
    """A tenant with line ends in its name stays inside the subject."""
    odd = replace(ACME, name="a\r\nBcc: everybody@elsewhere.test\x1b[31m")
    mail = SENDER.compose(replace(ALERT, budget=odd).told())
    assert mail["Bcc"] is None
    assert "a  Bcc: everybody@elsewhere.test [31m" in mail["Subject"]
    assert "\x1b" not in mail.get_content()


def test_a_subject_begins_on_its_own_line():
    """However long it is: mail folded at 78 characters may leave the first line empty, which is shown as no subject."""
    for length in range(1, 60):
        mail = SENDER.compose(replace(ALERT, budget=replace(ACME, name="a" * length)).told())
        assert b"Subject: [batchmill] 90 % of" in bytes(mail)


def test_a_foreign_name_arrives_whole():
    """Names in any script are encoded as mail has it."""
    mail = SENDER.compose(replace(ALERT, budget=replace(ACME, name="Bäckerei 東京")).told())
    assert "tenant Bäckerei 東京 used" in mail["Subject"]
    assert bytes(mail).isascii()


@pytest.mark.parametrize("letter", ["ä", "東", "B "])
def test_a_long_foreign_name_is_encoded_as_the_standard_has_it(letter):
    """However long the name, no encoded word is longer than 75 characters (RFC 2047), and the subject arrives whole,
    beginning on its own line."""
    for length in range(1, 201, 7):
        message = replace(ALERT, budget=replace(ACME, name=f"ö{letter * length}")).told()
        raw = bytes(SENDER.compose(message))
        assert max(map(len, re.findall(rb"=\?utf-8\?.*?\?=", raw))) <= 75
        assert b"Subject: [batchmill] 90 % of" in raw
        subject = message_from_bytes(raw, policy=policy.default)["Subject"]
        assert subject == f"[batchmill] {message.verdict}"


@pytest.mark.parametrize(
    "name", ["[Ops]", "Ops (on call", "J. Doe", ". Ops", "Betrieb [Köln]", "=?utf-8?q?x?="]
)
def test_a_mailbox_may_have_any_name(name):
    """What mail has another use for is quoted, so that the address stays what it is."""
    mailbox = f"{name} <a@acme.test>"
    channel = MailChannel(
        MailServer(host="mail.test", port=587, is_tls=False),
        sender=mailbox,
        recipients=[mailbox, "b@acme.test"],
    )
    mail = message_from_bytes(bytes(channel.compose(ALERT.told())), policy=policy.default)
    assert [one.addr_spec for one in mail["To"].addresses] == ["a@acme.test", "b@acme.test"]
    assert [one.addr_spec for one in mail["From"].addresses] == ["a@acme.test"]
    assert mail["Message-ID"].endswith("@acme.test>")


def test_signed_as_the_specification_does():
    """The known example of Standard Webhooks' own libraries: same key, id, time and body, same signature."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(
        key, id_="msg_p5jXN8AQM9LWM0D4loKWxJek", at_s=1_614_265_330, body=b'{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_id_has_no_full_stop():
    """The signature covers `id.timestamp.body`: a full stop in an id would move the borders between them."""
    assert "." not in ALERT.told().id + trial_message(1_800_000_000_000).id


def test_waits_double_up_to_an_hour():
    """10 s, 20 s, 40 s, ... an hour; the thousandth wait is an hour, too."""
    assert [wait_ms(tries) // 1000 for tries in (1, 2, 3, 9, 10, 1_000)] == [10, 20, 40, 2_560, 3_600, 3_600]
