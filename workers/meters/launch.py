"""What a launcher does for the metrics of its processes: a folder for them, looked after, and told where wanted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from batchmill.settings import Settings
from workers.meters.endpoint import Endpoint, text_of
from workers.meters.folder import MeterFolder, remove_dead
from workers.meters.folding import fold, write_in
from workers.meters.readings import build_info, metrics_of, read_folder
from workers.meters.recorder import Recorder, recorder_in

FOLD_EVERY_S = 2.0


class Meters:
    """The metrics of one launcher and all that it forks.

    Args:
        port: Where they are told; 0 = by the service of the home, if there is one.
    """

    def __init__(self, settings: Settings, port: int) -> None:
        remove_dead(settings.home)
        self._endpoint = None
        if port:
            self._endpoint = Endpoint(settings.metrics, port, lambda: text_of(_Told(self._folder)))
        self._folder = MeterFolder.make(settings.home, is_apart=bool(port))
        write_in(self._folder)
        self._ended = threading.Event()
        self._folding = threading.Thread(target=self._fold_on, daemon=True, name="fold-metrics")

    def start(self) -> None:
        """Tell them, and look after their folder."""
        self._folding.start()
        if self._endpoint is not None:
            self._endpoint.start()

    def stop(self) -> None:
        """The processes have ended: nothing is left to tell."""
        self._ended.set()
        if self._endpoint is not None:
            self._endpoint.stop()
        self._folding.join()
        self._folder.remove()

    def recorder(self, role: str) -> Recorder:
        """Called in a forked process: its recorder."""
        return recorder_in(self._folder, role)

    def forget(self) -> None:
        """Called in a forked process: let go of what is the launcher's."""
        if self._endpoint is not None:
            self._endpoint.forget()

    def _fold_on(self) -> None:
        while not self._ended.wait(FOLD_EVERY_S):
            fold(self._folder)


@contextmanager
def metered(settings: Settings, port: int) -> Iterator[Meters]:
    """Metrics for as long as the context lasts.

    Raises:
        BatchmillError: They cannot be told where they are to be.
    """
    meters = Meters(settings, port)
    try:
        meters.start()
        yield meters
    finally:
        meters.stop()


class _Told(Collector):
    """What one launcher tells of its processes."""

    def __init__(self, folder: MeterFolder) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Their metrics, and which batchmill it is."""
        yield build_info()
        yield from metrics_of(read_folder(self._folder))
