"""Origin: whether a request that needs no key comes from a program of this machine, and not from a web page.

Without keys whoever can reach the service may use it. That it listens on this machine only keeps out other machines,
but not the pages that a browser here has open: any page can send requests to 127.0.0.1, and one whose name is made to
point there (DNS rebinding) can read the answers as well.
"""

import ipaddress
import re
from collections.abc import Mapping

_AUTHORITY = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_SCHEME = re.compile(r"\Ahttps?://")


def is_from_here(headers: Mapping[str, str], host: str) -> bool:
    """Whether a service for this machine only may answer without a key: nothing shows that a page from elsewhere asks.

    What a page cannot make its browser leave out or change: by which name the service was called, whose page it is,
    and, in all current browsers, whether that is another site's. Programs send the first alone.

    Args:
        headers: Of the request; names in lower case, or whatever their case.
        host: Where the service listens.
    """
    origin = headers.get("origin")
    return (
        _is_this_machine(f"[{host}]" if ":" in host else host)
        and _is_this_machine(headers.get("host", ""))
        and (origin is None or _is_this_machine(_SCHEME.sub("", origin, count=1)))
        and headers.get("sec-fetch-site", "").strip().lower() != "cross-site"
    )


def _is_this_machine(authority: str) -> bool:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return False
    name = parts[1].lower().strip("[]")
    if name.removesuffix(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
