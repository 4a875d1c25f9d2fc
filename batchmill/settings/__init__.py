"""What can be set from outside, and where it is read."""

from batchmill.settings.groups import Settings, Source
from batchmill.settings.load import is_debug, load_settings

__all__ = ["Settings", "Source", "is_debug", "load_settings"]
