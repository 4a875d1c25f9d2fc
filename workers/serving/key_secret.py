"""The secret that keys are hashed with: set from outside, or kept in an embedded home."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from batchmill.errors import SettingsError
from batchmill.settings import Settings
from workers.assembly import make_home

FILE = "keys.secret"
VARIABLE = "BATCHMILL_KEYS_SECRET"
LEAST_LENGTH = 32

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_HOW_TO_MAKE = f"make one with `openssl rand -hex 32`, and set {VARIABLE} to it wherever the service runs"


def keys_secret(settings: Settings) -> bytes:
    """What keys are hashed with: as set, or that of the embedded home, which is made if there is none.

    Raises:
        SettingsError: The database is shared and none is set; or that of the home cannot be read, written or trusted.
    """
    given = settings.service.keys_secret
    if given is not None:
        return given.get_secret_value().encode()
    if not settings.database.is_embedded:
        raise SettingsError(f"{VARIABLE} is not set, and the database is shared", _HOW_TO_MAKE)
    make_home(settings.home)
    return _kept_at(settings.home / FILE)


def _kept_at(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise SettingsError(
            f'the secret of the keys at "{path}" cannot be used: {error.strerror}',
            f"make it readable to you alone, or set {VARIABLE}",
        ) from error


def _make(path: Path) -> None:
    """Put a new secret there, whole or not at all; one that somebody else has put there meanwhile stays."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())  # keys made with it must not outlive it
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        value = file.read(4_096).strip()
    if mode & _OTHERS:
        raise SettingsError(
            f'other users may get at the secret of the keys, "{path}"',
            "`chmod 600` keeps them out. Whoever has it and can write to the database can make keys of his own:"
            " if that is to be feared, delete the file, and make all keys anew",
        )
    if len(value) < LEAST_LENGTH:
        raise SettingsError(
            f'"{path}" holds no secret of {LEAST_LENGTH} characters or more',
            "put the one back that was there; if it is lost, delete the file, and make the keys anew",
        )
    return value
