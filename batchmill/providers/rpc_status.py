"""What Google's errors say beside their words: the details of a `google.rpc.Status`.

Facts: google/rpc/error_details.proto (ErrorInfo, RetryInfo, QuotaFailure). Nothing here raises.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

DAILY_QUOTA_WAIT_S: Final = 3_600.0
"""How long to wait where a quota of the day is used up: the delay that Google tells then, if any, is of seconds."""

_SECONDS: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def reason(details: Any) -> str:
    """Why, in one word in lower case, `api_key_invalid` for instance; "" where it does not say."""
    found = next((_text(info.get("reason")) for info in _of_type(details, "ErrorInfo")), "")
    return found.lower()


def wait_s(details: Any) -> float | None:
    """Seconds until a retry is welcome; None where it does not say. At least an hour where a day's quota is gone."""
    told = next(
        (_SECONDS.fullmatch(_text(i.get("retryDelay"))) for i in _of_type(details, "RetryInfo")), None
    )
    delay_s = float(told[1]) if told is not None else None
    if any("PerDay" in _text(violation.get("quotaId")) for violation in _violations(details)):
        return max(delay_s or 0.0, DAILY_QUOTA_WAIT_S)
    return delay_s


def _violations(details: Any) -> Iterator[Mapping[str, Any]]:
    for failure in _of_type(details, "QuotaFailure"):
        violations = failure.get("violations")
        for violation in violations if isinstance(violations, list) else []:
            if isinstance(violation, dict):
                yield violation


def _of_type(details: Any, name: str) -> Iterator[Mapping[str, Any]]:
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict) and _text(detail.get("@type")).endswith(f"google.rpc.{name}"):
            yield detail


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
