"""Points in time as options give them."""

from datetime import tzinfo

from batchmill.errors import MisuseError
from batchmill.periods import point_ms


def point_of(option: str, text: str | None, *, zone: tzinfo, now_ms: int) -> int | None:
    """The point in time that an option names, in milliseconds since 1970; None where it is not given.

    Raises:
        MisuseError: It names none; the option is told.
    """
    if text is None:
        return None
    try:
        return point_ms(text, zone=zone, now_ms=now_ms)
    except MisuseError as error:
        raise MisuseError(f"{option} {error.message}", error.hint) from None
