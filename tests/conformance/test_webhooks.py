"""Webhooks of batches, to real servers on loopback: told at least once how a batch ended, whoever dies meanwhile."""

import base64
import contextlib
import hashlib
import hmac
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from batchmill.errors import ParameterError
from batchmill.requests.model import BatchOptions, BatchState, LineError
from batchmill.settings import Settings, load_settings
from db import batches, hosted, sweep, webhooks
from db.engine import Database
from tests.support.clocks import FakeClock
from tests.support.hands import Worker, add_batch, batch_of
from tests.support.provider_servers import http
from tests.support.receivers import Post, WebhookServer
from tests.support.replies import ANSWERED
from workers import steering
from workers.serving.batch_object import batch_object
from workers.serving.webhooks import Postman, check_target

KEY = bytes(range(32))
SECRET = SecretStr("whsec_" + base64.b64encode(KEY).decode())
DAY_MS = 86_400_000
on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def postman(database: Database, **options: Any) -> Postman:
    """Somebody who may deliver to this machine."""
    return Postman(database, SECRET, batch_object, **{"to_private": True} | options)


def owing(database: Database, url: str, lines: int = 1) -> int:
    """A running batch that owes its producer a webhook."""
    batch = add_batch(database, lines)
    with database.write() as tx:
        webhooks.owe(tx, batch, url)
    return batch


def end(database: Database, batch: int) -> None:
    """Answer all of a batch, and end it."""
    worker = Worker(database)
    worker.answer(ANSWERED, *worker.take(only_batch=batch))
    with database.write() as tx:
        assert batches.finish(tx, batch)


def ended(database: Database, url: str) -> int:
    """A batch that has ended, and owes its producer a webhook."""
    batch = owing(database, url)
    end(database, batch)
    return batch


def state(database: Database, batch: int) -> tuple[str, int, str]:
    """How far its webhook has come."""
    with database.read() as tx:
        row = webhooks.of(tx, [batch])[batch]
    return row.state, row.tries, row.error


def is_signed(post: Post) -> bool:
    """As a receiver computes it."""
    signed = f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(post.headers["webhook-signature"], f"v1,{expected}")


def test_told_once_when_it_has_ended(database: Database, clock: FakeClock) -> None:
    """Not before, and not twice: signed, with the batch as it is shown."""
    with WebhookServer().up() as server:
        batch = owing(database, server.url)
        assert postman(database).deliver_due() == 0
        assert state(database, batch) == ("waiting", 0, "")
        end(database, batch)
        assert postman(database, clock=lambda: 1_800_000_123.0).deliver_due() == 1
        assert postman(database).deliver_due() == 0
    [post] = server.posts
    row = batch_of(database, batch)
    assert is_signed(post)
    assert post.headers["webhook-id"] == post.document["id"] == f"evt_{row.public_id.removeprefix('batch_')}"
    assert post.headers["webhook-timestamp"] == "1800000123"
    assert post.document["type"] == "batch.completed"
    assert post.document["created_at"] == clock.now_ms() // 1000
    assert post.document["data"]["id"] == row.public_id
    assert post.document["data"]["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    assert state(database, batch) == ("sent", 1, "")


def test_every_end_is_told(database: Database, settings: Settings) -> None:
    """Cancelled and expired ones too, those that failed, and those that were never read."""
    with WebhookServer().up() as server:
        cancelled, expired = owing(database, server.url), owing(database, server.url)
        steering.cancel(database, settings, batch_of(database, cancelled))  # ends it, as it owes no files
        with database.write() as tx:
            batches.cancel(tx, expired, BatchState.EXPIRED)
        sweep.end_idle(database, expired, BatchState.EXPIRED)
        with database.write() as tx:
            assert batches.finish(tx, expired)
            rejected, failed, unread = (_handed_in(tx, server.url) for _ in range(3))
            assert batches.reject(tx, rejected, "no good")
            while hosted.take(tx, "me", 1) is not None:
                pass
            assert hosted.fail(
                tx, failed, "me", [LineError(line=1, code="invalid", message="no good")], "no good"
            )
            assert hosted.cancel_unread(tx, unread)
            assert hosted.end_unread(tx, unread, "me")
        assert postman(database).deliver_due() == 5
    assert sorted(post.document["type"] for post in server.posts) == [
        "batch.cancelled",
        "batch.cancelled",
        "batch.expired",
        "batch.failed",
        "batch.failed",
    ]


def _handed_in(tx: Any, url: str) -> int:
    """A batch whose file is still to be read."""
    batch = int(batches.create(tx, BatchOptions()).id)
    hosted.describe(
        tx,
        batch,
        input_file="file-x",
        endpoint="/v1/chat/completions",
        window_s=3600,
        output_expires_s=None,
        metadata="",
    )
    webhooks.owe(tx, batch, url)
    return batch


def test_a_batch_that_is_not_made_owes_nothing(database: Database) -> None:
    """Batch and webhook are written together, or neither is."""
    made = []
    with contextlib.suppress(InterruptedError), database.write() as tx:
        made.append(_handed_in(tx, "https://hooks.test"))
        raise InterruptedError
    with database.read() as tx:
        assert webhooks.of(tx, made) == {}


def test_tried_again_as_the_same(database: Database, clock: FakeClock) -> None:
    """After growing waits, with the same id and body; meanwhile it is shown why, without what the URL may hide."""
    server = WebhookServer(answer=http(503, b"s3cret words"))
    batch = ended(database, server.url)
    with server.up():
        for tries, wait_ms in enumerate([10_000, 20_000, 40_000], 1):
            assert postman(database).deliver_due() == 0
            told = f"webhook http://127.0.0.1:{server.port}: it answered with status 503"
            assert state(database, batch) == ("pending", tries, told)
            clock.advance(wait_ms - 1)
            assert postman(database).deliver_due() == 0
            clock.advance(1)
            assert len(server.posts) == tries
        server.answer = http(204, b"")
        assert postman(database).deliver_due() == 1
    assert state(database, batch) == ("sent", 4, "")
    assert len({post.headers["webhook-id"] for post in server.posts}) == 1
    assert len({post.body for post in server.posts}) == 1
    assert all(is_signed(post) for post in server.posts)


def test_whoever_dies_over_it_is_followed(database: Database, clock: FakeClock) -> None:
    """One that was taken and never noted is taken again once its lease is over, and not before."""
    with WebhookServer().up() as server:
        batch = ended(database, server.url)
        with database.write() as tx:
            [owed] = webhooks.claim(tx, 10)
        assert postman(database).deliver_due() == 0
        clock.advance(webhooks.LEASE_MS)
        assert postman(database).deliver_due() == 1
        with database.write() as tx:
            webhooks.note_failed(tx, owed, "said too late")
    assert len(server.posts) == 1
    assert state(database, batch) == ("sent", 2, "")


def test_late_word_of_a_failure_is_no_news(database: Database, clock: FakeClock) -> None:
    """Whoever lost it to another does not end that one's lease."""
    batch = ended(database, "https://hooks.test")
    with database.write() as tx:
        [late] = webhooks.claim(tx, 10)
    clock.advance(webhooks.LEASE_MS)
    with database.write() as tx:
        assert len(webhooks.claim(tx, 10)) == 1
        webhooks.note_failed(tx, late, "said too late")
        assert webhooks.claim(tx, 10) == []
    assert state(database, batch) == ("pending", 2, "")


def test_given_up_after_a_day(database: Database, clock: FakeClock) -> None:
    """Then it stays so, with the reason."""
    server = WebhookServer(answer=http(500, b""))
    batch = ended(database, server.url)
    with server.up():
        for _ in range(60):
            postman(database).deliver_due()
            clock.advance(DAY_MS // 40)
        posts = len(server.posts)
    found, tries, error = state(database, batch)
    assert (found, tries) == ("given_up", posts)
    assert "status 500" in error
    assert 10 < posts <= 41


def test_many_postmen(database: Database) -> None:
    """Side by side they deliver each once."""
    with WebhookServer().up() as server:
        for _ in range(30):
            ended(database, server.url)
        arrived: list[int] = []
        threads = [
            threading.Thread(target=lambda: arrived.append(postman(database).deliver_due())) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(arrived) == 30
    assert len({post.headers["webhook-id"] for post in server.posts}) == len(server.posts) == 30


@on_sqlite
def test_one_that_does_not_answer_keeps_no_other(database: Database) -> None:
    """They are called beside each other, and each is noted when it is known."""
    with socket.socket() as silent, WebhookServer().up() as server:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        stuck = ended(database, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        others = [ended(database, server.url) for _ in range(3)]
        assert postman(database, attempt_s=0.5).deliver_due() == 3
    assert state(database, stuck)[2].endswith("it did not answer within 0.5 s")
    assert {state(database, other)[0] for other in others} == {"sent"}


@on_sqlite
def test_a_receiver_checks_it_as_the_documentation_shows(database: Database) -> None:
    """The example for receivers takes what is genuine, and nothing that was changed or has another key."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "watch-over-http.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(
        next(code for code in page.split("```python\n")[1:] if "def is_genuine" in code).split("```")[0],
        names,
    )
    is_genuine = names["is_genuine"]
    with WebhookServer().up() as server:
        ended(database, server.url)
        assert postman(database).deliver_due() == 1
    [post] = server.posts
    assert is_genuine(post.headers, post.body, SECRET.get_secret_value())
    assert not is_genuine(post.headers, post.body + b" ", SECRET.get_secret_value())
    assert not is_genuine(post.headers, post.body, "whsec_" + base64.b64encode(bytes(32)).decode())


@on_sqlite
def test_redirects_lead_nowhere(database: Database) -> None:
    """They are no delivery: what they lead to was never checked."""
    with WebhookServer().up() as inside:
        answer = http(307, b"", f"location: {inside.url}")
        with WebhookServer(answer=answer).up() as server:
            batch = ended(database, server.url)
            assert postman(database).deliver_due() == 0
    assert (len(server.posts), len(inside.posts)) == (1, 0)
    assert state(database, batch)[2].endswith("it answered with status 307")


@on_sqlite
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"]
)
def test_nothing_inside_is_called(database: Database, host: str) -> None:
    """However the address is written."""
    with WebhookServer().up() as server:
        batch = ended(database, server.url.replace("127.0.0.1", host))
        assert postman(database, to_private=False).deliver_due() == 0
    assert server.posts == []
    assert state(database, batch)[2].endswith("not an address on the public internet")


@on_sqlite
def test_a_name_that_turns_inside(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a host was when its batch was made counts for nothing when it is called."""
    answers = iter(["93.184.215.14", "127.0.0.1"])

    def resolve(_host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with WebhookServer().up() as server:
        url = f"http://turns.test:{server.port}/"
        check_target(signing(), url, to_private=False)
        batch = ended(database, url)
        assert postman(database, to_private=False).deliver_due() == 0
    assert server.posts == []
    assert state(database, batch)[2].endswith("not an address on the public internet")


@on_sqlite
def test_without_a_secret_it_waits(database: Database) -> None:
    """Nothing goes out unsigned; somebody who has the secret delivers it."""
    with WebhookServer().up() as server:
        batch = ended(database, server.url)
        assert Postman(database, None, batch_object, to_private=True).deliver_due() == 0
        assert state(database, batch) == ("pending", 0, "")
        assert postman(database).deliver_due() == 1


@on_sqlite
def test_nothing_secret_is_logged(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """What fails is told by host and port; path and query may hold a key."""
    server = WebhookServer()
    ended(database, server.url)
    postman(database).deliver_due()
    told = "".join(capsys.readouterr())
    assert f"http://127.0.0.1:{server.port}" in told
    assert "s3cret" not in told


def signing(**environ: str) -> Settings:
    """Settings of a service that can sign."""
    return load_settings({"BATCHMILL_WEBHOOK_SECRET": SECRET.get_secret_value(), **environ}, None)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://hooks.test/x", "names no host that can be called"),
        ("hooks.test", "names no host that can be called"),
        ("https://", "names no host that can be called"),
        ("https://user:s3cret@hooks.test", "holds a user or password"),
        ("https://93.184.215.14/x#s3cret", "has a #"),
        ("http://127.0.0.1/", "127.0.0.1 is not on the public internet"),
        ("http://10.1.2.3:8080/s3cret", "10.1.2.3 is not on the public internet"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254 is not on the public internet"),
        ("http://[::1]/", "::1 is not on the public internet"),
        ("http://localhost:8400/", "localhost is not on the public internet"),
        ("https://no-such-host.invalid/s3cret", "no-such-host.invalid, cannot be found"),
    ],
)
def test_what_is_refused_at_once(url: str, told: str) -> None:
    """By name, and nothing of it that might be secret is told."""
    with pytest.raises(ParameterError) as raised:
        check_target(signing(), url, to_private=False)
    assert told in raised.value.message
    assert "s3cret" not in raised.value.message
    assert (raised.value.param, raised.value.told_code) == ("webhook_url", "invalid_value")


def test_what_is_taken() -> None:
    """Addresses of the public internet; those inside where the owner says so."""
    check_target(signing(), "https://93.184.215.14/hooks?token=x", to_private=False)
    check_target(signing(), "http://127.0.0.1:9/hooks", to_private=True)
    assert signing(BATCHMILL_WEBHOOKS_TO_PRIVATE="true").webhook.to_private
    assert not signing().webhook.to_private


def test_a_service_that_cannot_sign() -> None:
    """It takes no webhook, and says what it lacks."""
    with pytest.raises(ParameterError, match="BATCHMILL_WEBHOOK_SECRET is not set"):
        check_target(load_settings({}, None), "https://93.184.215.14/", to_private=False)
