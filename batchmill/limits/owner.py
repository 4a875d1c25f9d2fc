"""How much the owner lets go out to a provider, or to one of its models."""

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLimits:
    """Limits of a provider or a model; None where the owner has set none. All are 1 or more.

    Attributes:
        model: As requests name it; "" for all of the provider's models together.
        rpm: Requests a minute.
        tpm: Tokens a minute, input and output together.
        input_tpm: Input tokens a minute.
        output_tpm: Output tokens a minute.
        concurrency: Calls in flight.
    """

    provider: str
    model: str = ""
    rpm: int | None = None
    tpm: int | None = None
    input_tpm: int | None = None
    output_tpm: int | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        below = [name for name, value in self.given.items() if value < 1]
        if below:
            raise ValueError(f"{below[0]} of {self.name} is below 1")

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return f"{self.provider}/{self.model}" if self.model else self.provider

    @property
    def given(self) -> Mapping[str, int]:
        """Those that are set, by name."""
        values = {name: getattr(self, name) for name in LIMIT_NAMES}
        return {name: value for name, value in values.items() if value is not None}


LIMIT_NAMES = tuple(field.name for field in fields(OwnerLimits) if field.name not in ("provider", "model"))
"""The limits there are."""
