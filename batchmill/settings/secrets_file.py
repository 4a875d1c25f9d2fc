"""The secrets file: keys and passwords that stand neither in the environment nor beside the work."""

import os
import stat
from pathlib import Path

from batchmill.errors import SettingsError
from batchmill.settings.dotenv import read_dotenv
from batchmill.settings.values import absolute_path

SECRETS_VARIABLE = "BATCHMILL_SECRETS"

_MOUNTED = Path("/run/secrets")
"""Where Docker and Kubernetes put secrets: readable to everybody in a container whose only tenant we are."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_secrets(name: str) -> dict[str, str]:
    """The variables that the file of that name sets; it has the form of a `.env` file.

    Raises:
        SettingsError: It is not there, cannot be read, or is malformed. The message names the variable, and shows
            nothing of what is in the file.
    """
    try:
        variables = read_dotenv(absolute_path(Path(name)), must_exist=True)
    except SettingsError as error:
        raise SettingsError(f"{SECRETS_VARIABLE}: {error.message}", error.hint) from error
    if SECRETS_VARIABLE in variables:
        raise SettingsError(
            f'{SECRETS_VARIABLE}: "{name}" names a secrets file itself', "name one, outside of it"
        )
    return variables


def exposure(name: str) -> str:
    """Why the file is less secret than it should be, in a sentence; "" when it is not."""
    path = absolute_path(Path(name))
    try:
        status, target = path.stat(), path.resolve()
    except OSError:  # it was a pipe, or is gone meanwhile
        return ""
    if not is_exposed(target, status.st_mode, owner=status.st_uid, reader=os.geteuid()):
        return ""
    return f'"{path}" holds secrets and other users may get at it; `chmod 600` keeps them out'


def is_exposed(path: Path, mode: int, *, owner: int, reader: int) -> bool:
    """Whether others than its owner may get at a file.

    What root has put there for us to read is as it is meant: a container's secrets are mounted for everybody in it,
    and a service's file is often root's, readable to the service's group.

    Args:
        path: Where it really is, links resolved.
        mode: Its type and permissions.
        owner: User id of its owner.
        reader: User id of whoever reads it.
    """
    if not stat.S_ISREG(mode):
        return False
    if owner == 0 and path.is_relative_to(_MOUNTED):
        return False
    for_the_service = stat.S_IRGRP if owner == 0 and reader != 0 else 0
    return bool(mode & _OTHERS & ~for_the_service)
