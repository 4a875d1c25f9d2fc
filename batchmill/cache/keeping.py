"""For how long a reply may stand in for a call, by the settings in force."""

from dataclasses import dataclass

from batchmill.cache.policy import keep_s
from batchmill.cache.ttl import CacheTtls
from batchmill.providers.base import Reply
from batchmill.requests.model import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """The cache's rules with this installation's times.

    Attributes:
        ttls: Life of a whole answer, by request type.
        refusal_ttl_s: Life of a refusal that would be repeated.
    """

    ttls: CacheTtls
    refusal_ttl_s: float

    def keep_for_s(self, reply: Reply, *, endpoint: Endpoint, request_type: str) -> float:
        """For how many seconds; 0 = not at all."""
        return keep_s(reply, endpoint, ttl_s=self.ttls.of(request_type), refusal_ttl_s=self.refusal_ttl_s)
