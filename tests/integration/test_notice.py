"""The notice of a home's service: one service at a time, however many look for it."""

import fcntl
import threading

import pytest

from batchmill.errors import ConflictError
from batchmill.settings import load_settings
from workers.serving.notice import Board


@pytest.fixture
def board(tmp_path) -> Board:
    return Board(load_settings({"BATCHMILL_HOME": str(tmp_path)}, None))


def test_who_only_looks_keeps_no_service_from_starting(board: Board, tmp_path):
    """Producers look for it while it starts; a look that coincides with the start is waited out."""
    with board.claimed():
        pass
    with (tmp_path / "run" / "service.lock").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        leaving = threading.Timer(0.1, lambda: fcntl.flock(looking, fcntl.LOCK_UN))
        leaving.start()
        with board.claimed():
            assert board.is_claimed()
        leaving.join()


def test_there_is_one_service(board: Board):
    """The second is told."""
    with board.claimed(), pytest.raises(ConflictError, match="runs already"), board.claimed():
        pass
