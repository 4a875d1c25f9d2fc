"""SQLite's one write lock, which everybody wants."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from time import sleep

from db.engine import Database

TURN_S, PAUSE_S = 0.04, 0.004
WRITES = 15


@contextmanager
def turns_of_a_busy_writer(path: Path) -> Iterator[list[int]]:
    """Somebody who has the lock but for a moment between two turns; how many turns it had."""
    turns, is_over = [0], threading.Event()

    def take_turns() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
            for nth in count(1):
                connection.execute("BEGIN IMMEDIATE")
                turns[0] = nth
                sleep(TURN_S)
                connection.execute("COMMIT")
                if is_over.wait(PAUSE_S):
                    return

    writer = threading.Thread(target=take_turns)
    writer.start()
    try:
        yield turns
    finally:
        is_over.set()
        writer.join()


def test_a_busy_writer_lets_others_write(tmp_path: Path) -> None:
    """Whoever waits finds the moment between two of its turns, the next one as a rule: an urgent request has to get
    past some ten transactions of a worker that is never idle."""
    path = tmp_path / "busy.db"
    with closing(Database(f"sqlite:///{path}")) as database:
        with database.write():
            pass  # the file is there
        with turns_of_a_busy_writer(path) as turns:
            while not turns[0]:
                sleep(TURN_S)
            begun = turns[0]
            for _ in range(WRITES):
                with database.write():
                    pass
                sleep(PAUSE_S)  # so that the other has the lock again
            waited = turns[0] - begun
    assert waited < 3 * WRITES
