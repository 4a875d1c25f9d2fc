"""Who receives alerts: a mail server and a webhook's server, real ones on loopback, each in a thread of its own."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import orjson
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from tests.support.ports import free_port
from tests.support.provider_servers import http, read_request

Meet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.contextmanager
def served(listen: Callable[[], Awaitable[asyncio.Server]]) -> Iterator[None]:
    """Serve in a thread for as long as the context lasts."""
    loop = asyncio.new_event_loop()
    listening, done = threading.Event(), asyncio.Event()

    async def serve() -> None:
        server = await listen()
        listening.set()
        await done.wait()
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for transport in list(
            vars(loop)["_transports"].values()
        ):  # Server.abort_clients(), once we need Python 3.13
            transport.abort()
        await asyncio.sleep(0)  # a turn of the loop, in which they are let go

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert listening.wait(30), "the server did not start"
        yield
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(30)


@dataclass(slots=True, kw_only=True)
class MailServer:
    """What a mail server has received, and how it behaves; nothing listens until `up`.

    Attributes:
        host: Where it listens; 127.0.0.2 is this machine, too, yet not by any name that we know.
        login: User and password that it wants; None = it wants none.
        refused: Recipients that it does not take.
        encrypted: Of each mail, whether it came after STARTTLS.
        logins: Of each login, whether it was right.
    """

    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    login: tuple[str, str] | None = None
    refused: tuple[str, ...] = ()
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[bool] = field(default_factory=list)

    @property
    def subjects(self) -> list[str]:
        """Those of all mails, in the order in which they came."""
        return [str(mail["Subject"]) for mail in self.mails]

    @contextlib.contextmanager
    def up(
        self, tls: ssl.SSLContext | None = None, *, from_the_start: bool = False
    ) -> Iterator["MailServer"]:
        """Serve for as long as the context lasts; with TLS by STARTTLS or from the start."""

        def protocol() -> SMTP:
            loop = asyncio.get_running_loop()
            options: dict[str, Any] = {"loop": loop, "hostname": "mail.test"}
            if self.login is not None:
                options |= {"authenticator": self._authenticate}
                options |= (
                    {"auth_require_tls": False} if tls is None or from_the_start else {"auth_required": True}
                )
            return SMTP(self, tls_context=None if from_the_start else tls, **options)

        async def listen() -> asyncio.Server:
            outer = tls if from_the_start else None
            return await asyncio.get_running_loop().create_server(protocol, self.host, self.port, ssl=outer)

        with served(listen):
            yield self

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _way: str, given: Any
    ) -> Any:
        assert self.login is not None
        is_right = (given.login.decode(), given.password.decode()) == self.login
        self.logins.append(is_right)
        return AuthResult(success=is_right, handled=False)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name for it
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, or refuse it."""
        if address in self.refused:
            return "550 5.1.1 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail."""
        assert isinstance(envelope.content, bytes)
        self.encrypted.append(session.ssl is not None)
        self.envelopes.append(envelope)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


class Hanging:
    """A mail server that takes connections and says nothing."""

    def __init__(self) -> None:
        self.port = free_port()
        self.called = threading.Event()

    async def listen(self) -> asyncio.Server:
        """Begin to listen."""
        return await asyncio.start_server(self._meet, "127.0.0.1", self.port)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.called.set()
        try:
            await reader.read()  # until the other end gives up
        finally:
            writer.close()


@dataclass(slots=True, kw_only=True)
class Post:
    """One POST that came in."""

    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body, read as JSON."""
        return orjson.loads(self.body)


@dataclass(slots=True, kw_only=True)
class WebhookServer:
    """What a webhook's server has received, and what it answers; nothing listens until `up`."""

    port: int = field(default_factory=free_port)
    answer: bytes = field(default_factory=lambda: http(200, b"{}"))
    posts: list[Post] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where to post to, with something in it that nobody is to see."""
        return f"http://127.0.0.1:{self.port}/hooks/t0p-s3cret-path?token=t0p-s3cret-query"

    @contextlib.contextmanager
    def up(self) -> Iterator["WebhookServer"]:
        """Serve for as long as the context lasts."""

        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                head, body = await read_request(reader)
                lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line]
                self.posts.append(Post(headers={name.lower(): value for name, value in lines}, body=body))
                writer.write(self.answer)
                await writer.drain()
            writer.close()

        with served(lambda: asyncio.start_server(meet, "127.0.0.1", self.port)):
            yield self
