"""Paths, as commands take and show them."""

import os
from pathlib import Path

from batchmill.errors import MisuseError
from batchmill.results.files import STANDARD_STREAMS


def real_path(path: Path) -> Path:
    """The file itself, however it is spelt: it tells one batch from another."""
    real = Path(os.path.realpath(path)) if str(path) not in STANDARD_STREAMS else path
    try:
        str(real).encode()
    except UnicodeEncodeError:
        raise MisuseError(f"the name {str(real)!a} is not UTF-8", "name another file") from None
    return real


def shown_path(path: Path) -> Path:
    """A path as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
