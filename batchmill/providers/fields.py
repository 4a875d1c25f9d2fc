"""What a provider makes of each field of OpenAI's requests."""

from dataclasses import dataclass
from enum import StrEnum


class Support(StrEnum):
    """What becomes of a field."""

    MAPPED = "mapped"
    ERROR = "error"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of OpenAI's, at one provider.

    Attributes:
        note: What becomes of it, or why it cannot be; for people.
    """

    name: str
    support: Support
    note: str
