"""Alerts by mail, to a real mail server on loopback."""

import asyncio
import base64
import gc
import ssl
from pathlib import Path

import pytest
import trustme

from batchmill.alerts.mail import MailChannel
from batchmill.alerts.message import trial_message
from batchmill.errors import DeliveryError
from batchmill.settings import load_settings
from batchmill.settings.alerts import mail_server
from db.engine import Database
from tests.support.budgets import add_budget, fire
from tests.support.clocks import PATIENCE_S, FakeClock
from tests.support.provider_servers import Behave, misbehaving
from tests.support.receivers import MailServer
from workers.alerts import deliver, make_channels

MESSAGE = trial_message(1_800_000_000_000)
SENDER, RECIPIENTS = "Mill <mill@acme.test>", ["Ops <a@acme.test>", "b@acme.test"]
USER, PASSWORD = "ops@acme.test", "p4ss/w0rd:@x"
LOGIN = "ops%40acme.test:p4ss%2Fw0rd%3A%40x@"
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def channel(
    port: int, *, scheme: str = "smtp", login: str = "", host: str = "127.0.0.1", **options: float
) -> MailChannel:
    server = mail_server(f"{scheme}://{login}{host}:{port}")
    return MailChannel(server, sender=SENDER, recipients=RECIPIENTS, **options)


def send(to: MailChannel) -> str:
    return asyncio.run(to.send(MESSAGE))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that only these tests know."""
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """What the mail server proves itself with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system trusts that authority."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def test_one_mail_for_all() -> None:
    """One plain mail, with the verdict for a subject, to everybody."""
    with MailServer().up() as server:
        assert send(channel(server.port)) == ""
    [mail], [envelope] = server.mails, server.envelopes
    assert mail["Subject"] == f"[batchmill] {MESSAGE.verdict}"
    assert (mail["From"], mail["To"]) == ("Mill <mill@acme.test>", "Ops <a@acme.test>, b@acme.test")
    assert (envelope.mail_from, envelope.rcpt_tos) == ("mill@acme.test", ["a@acme.test", "b@acme.test"])
    assert mail["Message-ID"] == "<test-1800000000000@acme.test>"
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().replace("\r\n", "\n") == MESSAGE.text


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_encrypted_and_logged_in(tls: ssl.SSLContext, scheme: str) -> None:
    """By STARTTLS where the server offers it, or from the first byte on; the login goes over TLS."""
    server = MailServer(login=(USER, PASSWORD))
    with server.up(tls, from_the_start=scheme == "smtps"):
        send(channel(server.port, scheme=scheme, login=LOGIN))
    assert (len(server.mails), server.logins) == (1, [True])
    assert server.encrypted == [scheme == "smtp"]  # of the other, all of the connection is


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_server_nobody_vouches_for_gets_no_login(tls: ssl.SSLContext, scheme: str) -> None:
    """A certificate that the system does not trust: neither password nor mail goes out."""
    server = MailServer(login=(USER, PASSWORD))
    with server.up(tls, from_the_start=scheme == "smtps"), pytest.raises(DeliveryError, match="certificate"):
        send(channel(server.port, scheme=scheme, login=LOGIN))
    assert (server.mails, server.logins) == ([], [])


def test_no_password_in_the_clear_to_another_machine() -> None:
    """A server that offers no encryption gets a login only where nobody can listen in: on this machine."""
    server, elsewhere = (
        MailServer(login=(USER, PASSWORD)),
        MailServer(host="127.0.0.2", login=(USER, PASSWORD)),
    )
    with server.up(), elsewhere.up():
        send(channel(server.port, login=LOGIN))
        with pytest.raises(DeliveryError, match="offers no encryption, so it gets no password"):
            send(channel(elsewhere.port, host=elsewhere.host, login=LOGIN))
        send(channel(elsewhere.port, host=elsewhere.host))
    assert (len(server.mails), server.logins) == (1, [True])
    assert (len(elsewhere.mails), elsewhere.logins) == (1, [])


@pytest.mark.usefixtures("trusted")
def test_a_wrong_password_is_not_told(tls: ssl.SSLContext) -> None:
    """The server's words are told, the password is not."""
    server = MailServer(login=(USER, "another"))
    with server.up(tls), pytest.raises(DeliveryError) as raised:
        send(channel(server.port, login=LOGIN))
    told = raised.value.message + raised.value.hint
    assert f"mail server 127.0.0.1:{server.port}: 535 5.7.8 Authentication credentials invalid" in told
    assert PASSWORD not in told


@pytest.mark.usefixtures("trusted")
def test_nothing_is_left_of_a_connection(tls: ssl.SSLContext) -> None:
    """Each attempt has a loop of its own, and its connection has ended with that, also one with TLS. One that had not
    would be told as a warning, which is an error here, when it is collected."""
    with MailServer(login=(USER, "another")).up(tls) as server:
        for _ in range(20):
            with pytest.raises(DeliveryError, match=r"535 5\.7\.8"):
                send(channel(server.port, login=LOGIN))
    gc.collect()


AS_IT_WAS_SENT = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (PASSWORD, r"500 what is \*\*\*\?$"),
        (AS_IT_WAS_SENT, r"500 what is \*\*\*\?$"),
        ("red\x1b[31m\0", r"500 what is red \[31m \?$"),
        ("x" * 280 + PASSWORD, r"500 what is x{280}\*\*\*\?$"),
    ],
)
def test_what_a_server_says(said: str, told: str) -> None:
    """It is told in one line that neither steers a terminal nor has what PostgreSQL cannot keep; what a server says
    again of what it was told is masked, wherever its words are cut off."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test\r\n")
        while line := await reader.readline():
            is_hello = line.startswith((b"EHLO", b"HELO"))
            writer.write(
                b"250-mail.test\r\n250 AUTH PLAIN\r\n" if is_hello else f"500 what is {said}?\r\n".encode()
            )
            await writer.drain()

    async def run() -> None:
        async with misbehaving(behave) as url:
            await channel(int(url.split(":")[2].split("/")[0]), login=LOGIN).send(MESSAGE)

    with pytest.raises(DeliveryError, match=told):
        asyncio.run(run())


def test_one_of_two_is_refused() -> None:
    """Who can be reached gets the mail; who cannot is named, and the mail counts as sent."""
    server = MailServer(refused=("b@acme.test",))
    with server.up():
        assert send(channel(server.port)) == "b@acme.test was refused: 550 5.1.1 nobody of that name"
    assert [envelope.rcpt_tos for envelope in server.envelopes] == [["a@acme.test"]]


def test_a_name_with_brackets() -> None:
    """The mail goes to the address, whatever the name beside it looks like."""
    with MailServer().up() as server:
        odd = ["[Ops] J. Doe (on call <a@acme.test>"]
        to = MailChannel(mail_server(f"smtp://127.0.0.1:{server.port}"), sender=odd[0], recipients=odd)
        assert send(to) == ""
    [envelope] = server.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("a@acme.test", ["a@acme.test"])


def test_all_are_refused() -> None:
    """Nobody got it: that is a failure, with each one's reason."""
    with (
        MailServer(refused=("a@acme.test", "b@acme.test")).up() as server,
        pytest.raises(DeliveryError, match=r"a@acme.test was refused: 550 .*; b@acme.test was refused: 550"),
    ):
        send(channel(server.port))


async def _nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.get_running_loop().create_future()


async def _no_greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"400 Bad Request\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("behave", "attempt_s", "told"),
    [(_nobody, 0.5, "did not answer within|Timed out"), (_no_greeting, PATIENCE_S, "400")],
)
def test_a_server_that_is_none(behave: Behave, attempt_s: float, told: str) -> None:
    """One that says nothing, or speaks something else, is given up in bounded time, with its name."""

    async def run() -> None:
        async with misbehaving(behave) as url:
            await channel(int(url.split(":")[2].split("/")[0]), attempt_s=attempt_s).send(MESSAGE)

    with pytest.raises(DeliveryError, match=rf"mail server 127.0.0.1:\d+: .*({told})"):
        asyncio.run(run())


def test_taken_is_delivered_whatever_comes_then() -> None:
    """A server that takes the mail and then hangs up, instead of saying goodbye, has it: nothing is sent again."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test\r\n")
        while (line := await reader.readline()) and not line.startswith(b"QUIT"):
            if line == b"DATA\r\n":
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 OK\r\n")
            await writer.drain()

    async def run() -> str:
        async with misbehaving(behave) as url:
            return await channel(int(url.split(":")[2].split("/")[0])).send(MESSAGE)

    assert asyncio.run(run()) == ""


@on_sqlite
def test_mail_is_down_for_a_while(database: Database, clock: FakeClock) -> None:
    """Alerts that fire while the mail server is away wait, and arrive once it is back: one mail each."""
    server = MailServer()
    environ = {"SMTP_URL": f"smtp://127.0.0.1:{server.port}", "ADMIN_EMAILS": "a@acme.test"}
    channels = make_channels(load_settings(environ, None))
    budget = add_budget(database, 5_000_000_000)
    for detail in ("75", "90", "100"):
        fire(database, budget, detail)
        assert not deliver(database, channels)
        clock.advance(1_000)
    with server.up():
        for _ in range(10):
            clock.advance(10_000)
            assert deliver(database, channels)
    assert sorted(server.subjects) == [
        "[batchmill] 75 % of the global budget used: $4.51 of $5.00",
        "[batchmill] 90 % of the global budget used: $4.51 of $5.00",
        "[batchmill] the global budget is used up: $4.51 of $5.00, and the next call may cost more than what is left",
    ]


@on_sqlite
def test_the_first_admin_is_the_sender_where_none_is_set(database: Database) -> None:
    """SMTP_URL and ADMIN_EMAILS are enough."""
    with MailServer().up() as server:
        environ = {
            "SMTP_URL": f"smtp://127.0.0.1:{server.port}",
            "ADMIN_EMAILS": "Ops <a@acme.test>, b@acme.test",
        }
        fire(database, add_budget(database, 5_000_000_000))
        assert deliver(database, make_channels(load_settings(environ, None)))
    [mail], [envelope] = server.mails, server.envelopes
    assert (mail["From"], envelope.mail_from) == ("Ops <a@acme.test>", "a@acme.test")
