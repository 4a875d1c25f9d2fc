"""The owner's own price of a model, as the catalogue keeps it: whole nano-dollars per million tokens."""

from dataclasses import dataclass, fields
from decimal import Decimal

from batchmill.errors import MisuseError
from batchmill.money.nanos import nanos_from_plain
from batchmill.money.owner_prices import OwnerPrice, owner_price

HIGHEST_USD = 1_000_000
_NINE_DECIMALS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrices:
    """What the owner says a model costs.

    The same rule as for an entry of BATCHMILL_PRICES: cached input without a price of its own is charged as
    input, reasoning as output; all zeros, or a price per request alone, charge for no kind of token.

    Attributes:
        input_nanos_per_mtok: Per million input tokens; goes with one for output.
        cached_input_nanos_per_mtok: Per million input tokens read from the provider's cache.
        output_nanos_per_mtok: Per million output tokens.
        nanos_per_request: Per call, besides the tokens or alone.
    """

    input_nanos_per_mtok: int | None = None
    cached_input_nanos_per_mtok: int | None = None
    output_nanos_per_mtok: int | None = None
    nanos_per_request: int | None = None

    def __post_init__(self) -> None:
        """Refuse half a price.

        Raises:
            MisuseError: Naming the half that is missing.
        """
        has_input, has_output = self.input_nanos_per_mtok is not None, self.output_nanos_per_mtok is not None
        if has_input != has_output:
            given, missing = ("input", "output") if has_input else ("output", "input")
            raise MisuseError(f"a price for {given} needs one for {missing} too")
        if self.cached_input_nanos_per_mtok is not None and not has_input:
            raise MisuseError("a price for cached input needs those for input and output too")
        if not has_input and self.nanos_per_request is None:
            raise MisuseError("there is no price")

    def owner_price(self) -> OwnerPrice:
        """The same in the form in which answers are priced; what a native batch costs, it does not say."""
        return owner_price(
            {
                in_usd: Decimal(nanos).scaleb(-_NINE_DECIMALS)
                for name, in_usd in NAMES_IN_USD.items()
                if (nanos := getattr(self, name)) is not None
            }
        )


PRICE_FIELDS = tuple(field.name for field in fields(ModelPrices))
NAMES_IN_USD = {name: name.replace("nanos", "usd") for name in PRICE_FIELDS}
"""What a field is called where prices are dollars: `usd_per_request`, as in an entry of BATCHMILL_PRICES."""


def price_nanos(text: str) -> int:
    """Return a price in dollars, written as plain decimals ("0.15", "3"), as nano-dollars.

    Raises:
        ValueError: For anything else: a currency sign, a comma, an exponent, a sign; an amount that is not
            from 0 to `HIGHEST_USD`, or has more than nine decimals.
    """
    return nanos_from_plain(text, noun="price", example="0.15 for instance", highest_usd=HIGHEST_USD)
