"""What can be set from outside, and where it is read.

The names are imported when they are asked for: `contact.py`, all that a producer needs, does without the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.settings.groups import Settings, Source
    from batchmill.settings.load import is_debug, load_settings

__all__ = ["Settings", "Source", "is_debug", "load_settings"]

_HOMES = {"Settings": "groups", "Source": "groups", "is_debug": "load", "load_settings": "load"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
