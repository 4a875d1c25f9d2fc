"""Mail server, addresses and webhook: what is taken, what is refused, and that nothing secret is told."""

import base64

import pytest
from pydantic import SecretStr

from batchmill.alerts.delivery import ChannelName
from batchmill.alerts.log import LogChannel
from batchmill.errors import SettingsError
from batchmill.settings import load_settings
from batchmill.settings.alerts import MailServer, mail_server, read_mailbox, signing_key
from workers.alerts import half_set_up, make_channels, try_out

SECRET = "pa55-w0rd"
KEY = base64.b64encode(bytes(range(32))).decode()
MAIL = {"SMTP_URL": "smtp://u:p@mail.test", "ADMIN_EMAILS": "a@acme.test"}
WEBHOOK = {"BATCHMILL_WEBHOOK_URL": "https://hooks.test/in", "BATCHMILL_WEBHOOK_SECRET": KEY}


def load(**environ: str):
    return load_settings(environ, None)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("smtp://mail.test", MailServer(host="mail.test", port=587, is_tls=False)),
        ("smtp://mail.test:25/", MailServer(host="mail.test", port=25, is_tls=False)),
        ("smtps://mail.test", MailServer(host="mail.test", port=465, is_tls=True)),
        ("smtp://u:p@[::1]:2525", MailServer(host="::1", port=2525, is_tls=False, user="u", password="p")),
        (
            "smtps://ops%40acme.test:p%2F%3A%40@mail.test",
            MailServer(host="mail.test", port=465, is_tls=True, user="ops@acme.test", password="p/:@"),
        ),
        (
            "smtp://u:a@b@mail.test",
            MailServer(host="mail.test", port=587, is_tls=False, user="u", password="a@b"),
        ),
    ],
)
def test_a_mail_server_is_a_url(url, server):
    """Scheme, login and port as mail servers are written everywhere; what is special in a login is percent-encoded."""
    assert mail_server(url) == server


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SMTP_URL", f"user:{SECRET}@mail.test"),
        ("SMTP_URL", f"http://user:{SECRET}@mail.test"),
        ("SMTP_URL", f"smtp://user:{SECRET}/x@mail.test"),
        ("SMTP_URL", f"smtp://user:{SECRET}#x@mail.test"),
        ("SMTP_URL", f"smtp://user:{SECRET}@mail.test:no"),
        ("SMTP_URL", f"smtp://user:{SECRET}@mail.test:0"),
        ("SMTP_URL", f"smtp://:{SECRET}@mail.test"),
        ("SMTP_URL", f"smtp://user:{SECRET}@"),
        ("SMTP_URL", f"smtp://user:{SECRET}@mail.test/inbox"),
        ("SMTP_URL", f"smtp://user:{SECRET}@mail..test"),
        ("SMTP_URL", f"smtp://user:{SECRET}@mail test"),
        ("SMTP_URL", f"smtp://user:{SECRET}@{'m' * 64}.test"),
        ("BATCHMILL_WEBHOOK_URL", f"hooks.test/{SECRET}"),
        ("BATCHMILL_WEBHOOK_URL", f"ftp://hooks.test/{SECRET}"),
        ("BATCHMILL_WEBHOOK_URL", f"https://u:{SECRET}@hooks.test"),
        ("BATCHMILL_WEBHOOK_URL", f"https://hooks.test:{SECRET}/"),
        ("BATCHMILL_WEBHOOK_URL", f"https://hooks.test/#{SECRET}"),
        ("BATCHMILL_WEBHOOK_URL", f"https://hooks..test/{SECRET}"),
        ("BATCHMILL_WEBHOOK_SECRET", SECRET),
        ("BATCHMILL_WEBHOOK_SECRET", base64.b64encode(SECRET.encode()).decode()),
        ("BATCHMILL_WEBHOOK_SECRET", "whsec_" + base64.b64encode(SECRET.encode() * 8).decode()),
    ],
)
def test_a_bad_secret_is_named_and_not_shown(variable, value):
    """The start stops with the variable's name and what it takes, and no part of its value."""
    with pytest.raises(SettingsError) as raised:
        load(**{variable: value})
    told = raised.value.message + raised.value.hint
    assert told.startswith(f"{variable} is set (")
    assert SECRET not in told
    assert base64.b64encode(SECRET.encode()).decode() not in told


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("ADMIN_EMAILS", "ops", '"ops" is no mail address'),
        ("ADMIN_EMAILS", "a@acme.test,,b@acme.test", '"" is no mail address'),
        ("ADMIN_EMAILS", "a@acme.test b@acme.test", "is no mail address"),
        ("ADMIN_EMAILS", "a@-acme.test", "is no mail address"),
        ("MAIL_FROM", "mill@", "is no mail address"),
        ("MAIL_FROM", "a@acme.test, b@acme.test", "is no mail address"),
        ("MAIL_FROM", "a@acme.test\nBcc: b@acme.test", "is no mail address"),
    ],
)
def test_a_bad_address_is_named(variable, value, named):
    """Addresses are checked at the start, not when the first alert is lost."""
    with pytest.raises(SettingsError, match=variable) as raised:
        load(**{variable: value})
    assert named in raised.value.message


def test_addresses_may_have_names():
    """`Ops <ops@acme.test>` is an address, in a list, too."""
    mail = load(ADMIN_EMAILS="Ops <ops@acme.test>, b@acme.test", MAIL_FROM="Mill <m@acme.test>").mail
    assert mail.recipients == ("Ops <ops@acme.test>", "b@acme.test")
    assert mail.sender == "Mill <m@acme.test>"


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("ops@acme.test", "", "ops@acme.test"),
        ("Ops <ops@acme.test>", "Ops", "ops@acme.test"),
        ("<ops@acme.test>", "", "ops@acme.test"),
        ("[Ops] J. Doe (on call <o.p+s@acme.test>", "[Ops] J. Doe (on call", "o.p+s@acme.test"),
        (".Ops<ops@acme.test>", ".Ops", "ops@acme.test"),
    ],
)
def test_a_mailbox_is_a_name_and_an_address(text, name, address):
    """The name may hold what mail has other uses for: brackets, parentheses, full stops."""
    [recipient] = load(ADMIN_EMAILS=text).mail.recipients
    mailbox = read_mailbox(recipient)
    assert (mailbox.display_name, mailbox.addr_spec) == (name, address)


@pytest.mark.parametrize("prefix", ["", "whsec_"])
def test_a_webhook_s_secret_is_base64(prefix):
    """In the notation of Standard Webhooks, with its prefix or without."""
    assert signing_key(SecretStr(prefix + KEY)) == bytes(range(32))
    assert load(BATCHMILL_WEBHOOK_SECRET=prefix + KEY).webhook.secret is not None


def test_secrets_are_masked_and_reach_children_whole():
    """`batchmill config` shows that they are set; a child process gets what was given."""
    settings = load(**MAIL, **WEBHOOK)
    shown = {row.variable: row.value for row in settings.describe()}
    assert {shown[name] for name in ("SMTP_URL", *WEBHOOK)} == {"***"}
    assert shown["ADMIN_EMAILS"] == "a@acme.test"
    assert "p@mail" not in repr(settings)
    assert MAIL.items() | WEBHOOK.items() <= settings.to_environ().items()


@pytest.mark.parametrize(
    ("environ", "channels", "missing"),
    [
        ({}, ["log"], {}),
        (MAIL | WEBHOOK, ["log", "mail", "webhook"], {}),
        ({"SMTP_URL": MAIL["SMTP_URL"]}, ["log"], {ChannelName.MAIL: "ADMIN_EMAILS"}),
        ({"ADMIN_EMAILS": "a@acme.test"}, ["log"], {ChannelName.MAIL: "SMTP_URL"}),
        (
            MAIL | {"BATCHMILL_WEBHOOK_URL": "https://hooks.test"},
            ["log", "mail"],
            {ChannelName.WEBHOOK: "BATCHMILL_WEBHOOK_SECRET"},
        ),
        ({"BATCHMILL_WEBHOOK_SECRET": KEY}, ["log"], {}),  # it also signs the webhooks of batches
    ],
)
def test_a_channel_is_used_when_it_is_set_up_whole(environ, channels, missing):
    """The log always; mail and webhook when nothing is missing, and what is missing is named."""
    settings = load(**environ)
    assert [channel.name for channel in make_channels(settings)] == channels
    assert half_set_up(settings) == missing


def test_a_test_tells_whatever_goes_wrong(monkeypatch):
    """What nobody foresaw is told like any other failure, by its kind only, and the other channels are still tried."""

    async def send(*_):
        raise ValueError(f"the password is {SECRET}")

    monkeypatch.setattr(LogChannel, "send", send)
    first, second = try_out(load(ADMIN_EMAILS="a@acme.test"), now_ms=1)
    assert (first.is_delivered, first.error) == (False, "unexpected ValueError")
    assert second.error == "SMTP_URL is not set"


def test_no_target_tells_a_secret():
    """Where alerts go is shown without passwords, and without the webhook's path."""
    environ = MAIL | WEBHOOK | {"BATCHMILL_WEBHOOK_URL": f"https://hooks.test/{SECRET}?t={SECRET}"}
    targets = [channel.target for channel in make_channels(load(**environ))]
    assert targets == ["standard error", "a@acme.test by mail.test:587", "https://hooks.test"]
