"""Metrics of real processes: they come and go, and nothing is lost, doubled or left behind."""

import multiprocessing
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from batchmill.errors import ConflictError, SettingsError
from batchmill.metering import families
from batchmill.metering.tally import Tally
from batchmill.settings.metrics import MetricsSettings
from tests.support.mill import wait_until
from tests.support.ports import free_port
from workers.meters.endpoint import Endpoint
from workers.meters.folder import MeterFolder, folders, remove_dead
from workers.meters.folding import fold, write_in
from workers.meters.readings import HomeReadings, Key, read_folder
from workers.meters.recorder import Recorder

FORK = multiprocessing.get_context("fork")
REPLIES = ("openai", "gpt-4o", "answered", "done")
PATIENCE_S = 20.0


@dataclass
class Launcher:
    """A process that forks others, one after the other; each counts so many calls, and the last one lives on.

    In a process of its own: prometheus_client's kind of values is chosen for a whole process. It is imported here
    already, before any folder is named, which must do no harm.
    """

    home: Path
    calls: tuple[int, ...]
    is_apart: bool = False
    done: Any = field(default_factory=FORK.Event)
    leave: Any = field(default_factory=FORK.Event)

    def run(self) -> None:
        """Count, wait, and remove the folder."""
        folder = MeterFolder.make(self.home, is_apart=self.is_apart)
        write_in(folder)
        *others, last = self.calls
        for calls in others:
            child = FORK.Process(target=self._count, args=(folder, calls, FORK.Event()))
            child.start()
            child.join()
            fold(folder)
        ready = FORK.Event()
        child = FORK.Process(target=self._count, args=(folder, last, ready, self.leave))
        child.start()
        ready.wait(PATIENCE_S)
        self.done.set()
        child.join()
        folder.remove()

    @staticmethod
    def _count(folder: MeterFolder, calls: int, ready: Any, leave: Any = None) -> None:
        recorder, tally = Recorder("worker", life=folder.join()), Tally()
        for _ in range(calls):
            tally.count(families.REPLIES, *REPLIES).value += 1
            tally.spread(families.CLAIM_SIZE).note(3.0)
            tally.count(families.CALLS_IN_FLIGHT, "openai").value += 1
            recorder.record(tally)
        ready.set()
        if leave is not None:
            leave.wait(PATIENCE_S)


@contextmanager
def launched(launcher: Launcher) -> Iterator[Any]:
    """A launcher whose processes have counted; its process."""
    process = FORK.Process(target=launcher.run)
    process.start()
    try:
        assert launcher.done.wait(PATIENCE_S)
        yield process
    finally:
        launcher.leave.set()
        process.join()


def values(samples: dict[Key, float]) -> dict[str, float]:
    """The values of some samples, by name."""
    names = ("batchmill_replies_total", "batchmill_calls_in_flight", "batchmill_claim_requests_count")
    return {name: value for (_, name, _), value in samples.items() if name in names}


def test_processes_that_are_gone_have_counted_and_leave_no_files(tmp_path: Path) -> None:
    """Four have counted ten calls, one is left: all ten are told, its calls alone are in flight, its files are there
    and one of each kind for all others. The folder goes with its launcher."""
    with launched(Launcher(tmp_path, (1, 2, 3, 4))):
        (folder,) = folders(tmp_path)
        assert values(read_folder(folder)) == {
            "batchmill_replies_total": 10,
            "batchmill_claim_requests_count": 10,
            "batchmill_calls_in_flight": 4,
        }
        kinds = sorted(path.name.rsplit("_", 1)[0] for path in folder.path.glob("*.db"))
        assert kinds == ["counter", "counter", "gauge_livesum", "histogram", "histogram"]
        assert len(list(folder.path.glob("[0-9]*.alive"))) == 1
    assert folders(tmp_path) == []


def test_sums_do_not_fall_when_one_of_two_launchers_ends(tmp_path: Path) -> None:
    """Prometheus would take that for a counter begun anew, and count the other's part twice; what is in flight there
    is gone with it."""
    readings = HomeReadings(tmp_path)
    with launched(Launcher(tmp_path, (5,))):
        with launched(Launcher(tmp_path, (3,))):
            assert values(readings.read())["batchmill_replies_total"] == 8
        told = values(readings.read())
        assert (told["batchmill_replies_total"], told["batchmill_calls_in_flight"]) == (8, 5)
    assert values(readings.read()) == {"batchmill_replies_total": 8, "batchmill_claim_requests_count": 8}


def test_who_tells_elsewhere_is_left_out(tmp_path: Path) -> None:
    """Else a sum over everything scraped would have its calls twice."""
    with launched(Launcher(tmp_path, (5,), is_apart=True)):
        assert values(HomeReadings(tmp_path).read()) == {}


def test_a_killed_launcher_s_folder_is_removed_and_no_other(tmp_path: Path) -> None:
    """As soon as none of its processes lives."""
    with launched(Launcher(tmp_path, (1,))), launched(dead := Launcher(tmp_path, (1,))) as process:
        process.kill()
        process.join()
        remove_dead(tmp_path)
        assert len(folders(tmp_path)) == 2  # its child lives, and counts
        dead.leave.set()
        wait_until(lambda: remove_dead(tmp_path) or len(folders(tmp_path)) == 1, PATIENCE_S)


@contextmanager
def endpoint(settings: MetricsSettings) -> Iterator[Callable[..., tuple[int, bytes]]]:
    """A worker's endpoint; to ask it."""
    port = free_port()
    found = Endpoint(settings, port, lambda: b"told")
    found.start()

    def ask(method: str = "GET", path: str = "/metrics", shown: str = "") -> tuple[int, bytes]:
        with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
            connection.request(method, path, headers={"Authorization": shown} if shown else {})
            response = connection.getresponse()
            return response.status, response.read()

    try:
        yield ask
    finally:
        found.stop()


def test_nothing_is_answered_but_get_metrics() -> None:
    """There is nothing else."""
    with endpoint(MetricsSettings()) as ask:
        assert ask() == (200, b"told")
        assert ask(path="/metrics?x=1")[0] == 200
        assert [ask(path=path)[0] for path in ("/", "/metrics/", "/admin")] == [404] * 3
        assert [ask(method)[0] for method in ("POST", "HEAD", "DELETE")] == [501] * 3


def test_a_token_is_asked_for_where_there_is_one() -> None:
    """Whole and right."""
    with endpoint(MetricsSettings(token=SecretStr("sixteen letters!"))) as ask:
        assert ask(shown="Bearer sixteen letters!") == (200, b"told")
        for shown in ("", "Bearer sixteen letters", "sixteen letters!", "Bearer \xe9"):
            assert ask(shown=shown)[0] == 401


def test_nobody_listens_for_others_without_a_token() -> None:
    """The start fails, and says what to set."""
    with pytest.raises(SettingsError, match="BATCHMILL_METRICS_TOKEN"):
        Endpoint(MetricsSettings(host="0.0.0.0"), 1, lambda: b"")


def test_a_port_that_is_taken_is_told() -> None:
    """Each worker needs its own."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConflictError, match="metrics cannot be told at") as told:
            Endpoint(MetricsSettings(), taken.getsockname()[1], lambda: b"")
    assert "--metrics-port" in told.value.hint
