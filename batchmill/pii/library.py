"""The libraries of the extra `training`, or what to do without them."""

from batchmill.errors import SettingsError
from batchmill.pii.model import Pattern

INSTALL = "pip install 'batchmill[training]'"


def patterns() -> tuple[Pattern, ...]:
    """What is looked for.

    Raises:
        SettingsError: The libraries that know the checksums are not installed.
    """
    try:
        from batchmill.pii.patterns import PATTERNS
    except ImportError as error:
        raise SettingsError(f"what finds personal data is not installed: {error.name}", INSTALL) from error
    return PATTERNS
