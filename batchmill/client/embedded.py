"""Finds the service of a home, and starts it where there is none: `batchmill up`, in a process of its own.

The service holds a lock on `run/service.lock` for as long as it lives, and once it listens it writes where into
`run/service.json`. The kernel lets the lock go with its process, however that ends; so a lock that can be had means
that nobody is there, whatever the other file says.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from batchmill.client.errors import EmbeddedServiceError
from batchmill.client.progress import say

COMMAND = ("-P", "-m", "cli.main", "up", "--port", "0")
"""For Python itself: without the folder in which the producer happens to be, whose `db.py` is not ours."""

READY_WITHIN_S = 60.0
ASK_AGAIN_AFTER_S = 0.05
_PROBE_S = 5.0
_SHOWN_LOG_BYTES = 2_000


def find_or_start(home: Path) -> str:
    """The address of the home's service, which is ready; whoever asks at the same time gets the same one.

    Raises:
        EmbeddedServiceError: It does not start, or is not ready in time.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        url = _awaited(home, deadline)
        if url is not None:
            return url
        with _one_starter(home, deadline):
            if not _is_held(_lock(home)):
                return _started(home, deadline)


def _awaited(home: Path, deadline: float) -> str | None:
    """The address of the service that lives, once it is ready; None where there is none, or no longer."""
    while _is_held(_lock(home)):
        notice = _notice(home)
        if notice is not None and _answers(notice.url):
            return notice.url
        _pause(home, deadline)
    return None


def _started(home: Path, deadline: float) -> str:
    """The address of a service that is started, once it is ready."""
    process = _start(home)
    while True:
        # Looked at in this order: what it has said before it ended counts.
        has_ended = process.poll() is not None
        url = _awaited(home, deadline)
        if url is not None:
            break
        if has_ended:
            raise _not_started(home, f"it ended with status {process.returncode}")
        _pause(home, deadline)
    notice = _notice(home)
    if notice is not None and notice.pid == process.pid:  # else somebody has been quicker with `batchmill up`
        say(f"started the embedded service at {url} (home {home}); stop it with `batchmill down`")
    return url


def _pause(home: Path, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise _not_started(home, f"it is not ready after {READY_WITHIN_S:g} s")
    time.sleep(ASK_AGAIN_AFTER_S)


class _Notice(NamedTuple):
    url: str
    pid: int


def _notice(home: Path) -> _Notice | None:
    """Where the living service says it is; None while it does not listen. What a dead one has left says nothing."""
    try:
        told: Any = json.loads((home / "run" / "service.json").read_bytes())
        notice = _Notice(str(told["url"]), int(told["pid"]))
        os.kill(notice.pid, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return notice if _is_held(_lock(home)) else None


def _answers(url: str) -> bool:
    try:
        with httpx2.Client(trust_env=False, timeout=_PROBE_S) as client:
            return bool(client.get(f"{url}/health/ready").status_code < 500)
    except httpx2.HTTPError:
        return False


def _start(home: Path) -> "subprocess.Popen[bytes]":
    """Start it, with the settings of this process: a `.env` file here is none where it runs."""
    from batchmill.settings import load_settings

    environ = os.environ | load_settings(overrides={"BATCHMILL_HOME": str(home)}).to_environ()
    with _log(home).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *COMMAND],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env=environ,
            start_new_session=True,
        )
    # Whoever waits for it keeps it from becoming a zombie, should it end before we do.
    threading.Thread(target=process.wait, name="batchmill-up", daemon=True).start()
    return process


@contextlib.contextmanager
def _one_starter(home: Path, deadline: float) -> Iterator[None]:
    """Be the one who starts it."""
    try:
        for folder in (home, home / "run", home / "logs"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(home / "run" / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EmbeddedServiceError(
            f'the home "{home}" cannot be used: {error.strerror}', "name another with BATCHMILL_HOME"
        ) from error
    try:
        while not _take(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise _not_started(home, "another process has been starting it for too long")
            time.sleep(ASK_AGAIN_AFTER_S)
        yield
    finally:
        os.close(lock)


def _is_held(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # there is none; or the home cannot be used, which whoever starts a service is told
        return False
    try:
        return not _take(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _take(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _not_started(home: Path, why: str) -> EmbeddedServiceError:
    log = _log(home)
    said = ""
    with contextlib.suppress(OSError):
        lines = log.read_bytes()[-_SHOWN_LOG_BYTES:].decode(errors="replace").strip().splitlines()
        said = next((line for line in reversed(lines) if line.startswith("error:")), "")
    return EmbeddedServiceError(
        f"the embedded service does not start: {why}" + (f" ({said})" if said else ""),
        f'its own words are in "{log}"; or give the client an address',
    )


def _lock(home: Path) -> Path:
    return home / "run" / "service.lock"


def _log(home: Path) -> Path:
    return home / "logs" / "up.log"
