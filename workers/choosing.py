"""Choosing: the parts by which a process finds whom a request may go to; workers and whoever explains them share it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from batchmill.catalogue.entries import ModelEntry
from batchmill.money.owner_prices import OwnerPrices
from batchmill.money.prices import Pricer
from batchmill.requests.model import Endpoint
from batchmill.routing.outlook import Outlook
from batchmill.routing.router import Misfit, Router
from batchmill.routing.upstreams import Upstreams


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """What finds whom a request may go to. Not shared between threads."""

    pricer: Pricer
    outlook: Outlook
    router: Router

    @classmethod
    def of(
        cls,
        from_file: OwnerPrices,
        *,
        upstreams: Upstreams,
        misfit: Misfit,
        endpoints: Mapping[str, Collection[Endpoint]],
        output_cap_tokens: int,
        now_ms: Callable[[], int],
    ) -> "Choosing":
        """The parts, which know no model yet.

        Args:
            from_file: The prices that go before all others.
            misfit: What providers cannot be asked for.
            endpoints: What a provider serves; one that is not in it serves all.
            output_cap_tokens: The longest answer, where nobody says one.
        """
        pricer = Pricer(from_file)
        outlook = Outlook(
            pricer,
            providers=upstreams.usable,
            endpoints=endpoints,
            now_ms=now_ms,
            output_cap_tokens=output_cap_tokens,
        )
        router = Router(providers=upstreams.usable, misfit=misfit, situation=outlook.situation, now_ms=now_ms)
        return cls(pricer=pricer, outlook=outlook, router=router)

    def go_by(self, prices: OwnerPrices, models: Sequence[ModelEntry]) -> None:
        """Choose from these models, at these prices."""
        self.pricer.set_owner_prices(prices)
        self.router.set_models(models)
