"""Signs of life: every living worker of a home holds a lock on a file of its name; the kernel lets it go with it."""

import fcntl
from pathlib import Path
from typing import IO


def life_signs(home: Path) -> Path:
    """The folder in which every living worker of a home holds a lock on a file of its name."""
    return home / "run" / "workers"


def show_life(home: Path, worker_id: str) -> IO[bytes]:
    """Hold a lock for as long as this process lives: the kernel lets it go with the process, however that ends."""
    folder = life_signs(home)
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / worker_id).open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def shows_life(home: Path, worker_id: str) -> bool:
    """Whether the worker of that name still lives on this machine; nothing is changed."""
    try:
        with (life_signs(home) / worker_id).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def is_alive(home: Path, worker_id: str) -> bool:
    """The same for whoever takes over from the dead: what they leave behind is removed."""
    if shows_life(home, worker_id):
        return True
    (life_signs(home) / worker_id).unlink(missing_ok=True)
    return False
