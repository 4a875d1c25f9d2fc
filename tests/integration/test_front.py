"""The front and its notice: who listens, who is found, and what is left of those that were killed."""

import fcntl
import os
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from batchmill.errors import ConflictError, NotFoundError
from batchmill.settings import Settings, load_settings
from tests.support.http_service import served
from tests.support.mill import wait_until
from workers.serving import front, notice
from workers.serving.front import Front, listen, url_of
from workers.serving.notice import Board, Notice


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a home of its own, at a free port."""
    return load_settings({"BATCHMILL_HOME": str(tmp_path / "home"), "BATCHMILL_PORT": "0"}, None)


def at_port(settings: Settings, port: int) -> Settings:
    return settings.model_copy(update={"service": settings.service.model_copy(update={"port": port})})


@pytest.fixture
def taken(settings: Settings) -> Iterator[socket.socket]:
    """A socket that somebody listens on."""
    with listen(settings) as listening:
        yield listening


def test_a_port_that_is_taken(
    settings: Settings, taken: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, but not for ever; then it is told what to do."""
    monkeypatch.setattr(front, "FREE_WITHIN_S", 0.1)
    with pytest.raises(ConflictError, match="cannot listen at") as caught:
        listen(at_port(settings, taken.getsockname()[1]))
    assert "--port" in caught.value.hint


def test_a_port_that_becomes_free(settings: Settings, taken: socket.socket) -> None:
    """That of a service that was killed a moment ago can be had by the next."""
    port = taken.getsockname()[1]
    threading.Timer(0.3, taken.close).start()
    with listen(at_port(settings, port)) as listening:
        assert listening.getsockname()[1] == port


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_no_address_of_this_machine(settings: Settings, host: str) -> None:
    """It is told at once."""
    elsewhere = settings.model_copy(update={"service": settings.service.model_copy(update={"host": host})})
    begun = time.monotonic()
    with pytest.raises(ConflictError, match="cannot listen"):
        listen(elsewhere)
    assert time.monotonic() - begun < front.FREE_WITHIN_S


def test_where_it_is_reached(settings: Settings) -> None:
    """What listens everywhere is reached here."""
    everywhere = settings.model_copy(
        update={"service": settings.service.model_copy(update={"host": "0.0.0.0"})}
    )
    with listen(everywhere) as listening:
        assert url_of(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_answers_are_sent_at_once(settings: Settings) -> None:
    """No answer waits in the kernel for more to be sent (TCP_NODELAY)."""
    with served(settings) as service, socket.create_connection(("127.0.0.1", service.port)):
        connections = service.server.server_state.connections
        wait_until(lambda: bool(connections), 30)
        (connection,) = connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_front_that_dies_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started again, less and less often while it dies."""
    begun: list[float] = []
    now = [0.0]
    with listen(settings) as listening:
        one = Front(settings=settings, listening=listening)

        class Dead:
            returncode = 1

            def poll(self) -> int:
                return 1

        def start() -> Dead:
            begun.append(now[0])
            return Dead()

        monkeypatch.setattr(Front, "_start", lambda _: start())
        monkeypatch.setattr(front.time, "monotonic", lambda: now[0])
        for tenth in range(600):
            now[0] = 1_000 + tenth / 10
            one.ensure()
    pauses = [round(after - before, 1) for before, after in pairwise(begun)]
    assert pauses[:5] == [0.5, 1.5, 3.5, 7.5, 10.0]
    assert one.restarts == len(begun)


def test_one_service_of_a_home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is refused, and told where the first is; when that has gone, there is none."""
    monkeypatch.setattr(notice, "ASK_AGAIN_FOR_S", 0.1)
    board = Board(settings)
    assert board.read() is None
    with board.claimed():
        board.put("http://127.0.0.1:1")
        assert board.read() == Notice(url="http://127.0.0.1:1", pid=os.getpid())
        with (
            pytest.raises(ConflictError, match=r"runs already at http://127\.0\.0\.1:1"),
            Board(settings).claimed(),
        ):
            pytest.fail("two")
    assert board.read() is None
    assert not board.is_claimed()


def test_whoever_only_asks_keeps_nobody_from_it(settings: Settings) -> None:
    """A look whether there is a service, at the very moment at which one starts, does not stop that."""
    board = Board(settings)
    with board.claimed():
        pass
    path = settings.home / "run" / "service.lock"
    with path.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        threading.Timer(0.2, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
        with board.claimed():
            assert Board(settings).is_claimed()


def test_what_one_that_was_killed_left(settings: Settings) -> None:
    """Its notice names nobody: not while there is no service, and not while the next is being started."""
    board = Board(settings)
    with board.claimed():
        board.put("http://old")
        left = (settings.home / "run" / "service.json").read_bytes()
    (settings.home / "run" / "service.json").write_bytes(left)
    assert board.read() is None
    with board.claimed():
        assert Board(settings).read() is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"url": "x", "pid": null}', '{"url": 1}', "\0"])
def test_a_notice_that_says_nothing(settings: Settings, text: str) -> None:
    """Somebody else's hand in it makes it none."""
    board = Board(settings)
    with board.claimed():
        (settings.home / "run" / "service.json").write_text(text)
        assert board.read() is None


def test_nothing_to_end(settings: Settings) -> None:
    """To end a service where there is none says how one is started."""
    with pytest.raises(NotFoundError) as caught:
        Board(settings).end()
    assert "batchmill up" in caught.value.hint


def test_one_that_is_being_started_is_waited_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended as soon as it can be found."""
    board, ended = Board(settings), threading.Event()
    monkeypatch.setattr(notice.os, "kill", lambda pid, number: ended.set())
    up = threading.Event()

    def run() -> None:
        with board.claimed():
            up.set()
            time.sleep(0.2)
            board.put("http://new")
            ended.wait(30)

    service = threading.Thread(target=run)
    service.start()
    up.wait(30)
    told = Board(settings).end()
    service.join()
    assert told == Notice(url="http://new", pid=os.getpid())
