"""Where a webhook that somebody else has named may go: nowhere inside.

Whoever may name an address that we call could otherwise have us ask what only we can reach: the cloud's metadata,
a database on this machine. So a host counts by what it resolves to, and the connection goes to just the addresses that
were looked at; a name server that says something else a moment later changes nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

from batchmill.providers.pool import AddressInfo

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """The host is, or resolves to, an address that is not on the public internet."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where it hides in another."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is None and found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


def public_only(found: Sequence[AddressInfo]) -> Sequence[AddressInfo]:
    """What a host resolves to, if all of it is public.

    Raises:
        PrivateAddressError: Some of it is not. Which, is not said: that would be what whoever asks is after.
    """
    if not all(is_public(str(info[4][0])) for info in found):
        raise PrivateAddressError("not an address on the public internet")
    return found


async def look_up_public(host: str, port: int) -> Sequence[AddressInfo]:
    """The addresses of a host, all of them public.

    Raises:
        PrivateAddressError: Some of them are not.
        OSError: It has none.
    """
    loop = asyncio.get_running_loop()
    return public_only(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def check_public(host: str, port: int) -> None:
    """The same for whoever has to wait.

    Raises:
        PrivateAddressError: Some of them are not.
        OSError: It has none.
    """
    public_only(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
