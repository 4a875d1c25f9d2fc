"""How a provider is: what each look at it has shown, and since when it is as it is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One look at a provider, at no cost.

    Attributes:
        upstream: The address that was asked.
        error_code: Machine-readable cause when it is not there or does not know the key; "" when all is well.
        error_message: The same for people; never holds a key.
    """

    provider: str
    upstream: str
    latency_ms: int
    error_code: str = ""
    error_message: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether it is there and knows the key."""
        return not self.error_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a provider is, as far as was looked.

    Attributes:
        last: The last check.
        at_ms: When that was.
        since_ms: The first of the checks that have shown the same, up to the last without a break.
        last_ok_ms: The last time that all was well; None when it never was.
    """

    last: Check
    at_ms: int
    since_ms: int
    last_ok_ms: int | None
