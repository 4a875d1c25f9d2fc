"""How long an answer may be used again, by type of request."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from batchmill.errors import SettingsError

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_UNITS_S = {"s": 1, "m": _MINUTE_S, "h": _HOUR_S, "d": _DAY_S}
_DEFAULT = "default"
_LONGEST_S = 3650 * _DAY_S

DEFAULT_TTLS_S: Mapping[str, int] = MappingProxyType(
    {
        "moderation": 24 * _HOUR_S,
        "churn": _HOUR_S,
        "platform_health": _HOUR_S,
        "anomaly": 5 * _MINUTE_S,
        "seller_performance": _HOUR_S,
        "trend": 7 * _DAY_S,
        _DEFAULT: 30 * _DAY_S,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTtls:
    """Seconds an answer lives, by type of request; `default` for every other type.

    Attributes:
        by_type: Laid over `DEFAULT_TTLS_S`. "Seller Performance" and "seller-performance" are one type.
    """

    by_type: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {normal_type(name): ttl_s for name, ttl_s in self.by_type.items()}
        object.__setattr__(self, "by_type", {**DEFAULT_TTLS_S, **given})

    def of(self, request_type: str) -> int:
        """Return the seconds an answer to this type of request lives; an unnamed type has the default."""
        ttl_s = self.by_type.get(normal_type(request_type))
        return self.by_type[_DEFAULT] if ttl_s is None else ttl_s


def normal_type(request_type: str) -> str:
    """Return the one spelling of a request type: lower case, words joined by `_`."""
    return re.sub(r"[\s_-]+", "_", request_type.strip()).casefold()


def parse_ttls(text: str, *, variable: str = "BATCHMILL_CACHE_TTL") -> CacheTtls:
    """Return the lives that a setting such as `moderation=24h,anomaly=5m,default=30d` asks for.

    Args:
        text: Types that are not named keep their default life; empty text changes none.
        variable: Where the text comes from, for the error.

    Raises:
        SettingsError: When a part is wrong; names the variable and the part.
    """
    given: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, duration = part.partition("=")
        request_type = normal_type(name)
        if not (equals and request_type):
            raise SettingsError(f'{variable}: "{part}" is not type=time', "for instance moderation=24h")
        if request_type in given:
            raise SettingsError(f'{variable}: "{request_type}" is given twice')
        given[request_type] = _seconds(duration.strip(), where=f'{variable}: "{part}"')
    return CacheTtls(by_type=given)


def _seconds(duration: str, *, where: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", duration)
    if match is None:
        raise SettingsError(
            f"{where} has no time", "write a whole number and s, m, h or d: 90s, 5m, 24h, 30d"
        )
    seconds = int(match[1]) * _UNITS_S[match[2]]
    if not 0 < seconds <= _LONGEST_S:
        raise SettingsError(
            f"{where} is not between 1s and {_LONGEST_S // _DAY_S}d", "cache=off keeps no answers"
        )
    return seconds
