"""Addresses that webhooks may go to: the public internet, and nothing that leads elsewhere."""

import pytest

from batchmill.webhooks.addresses import PrivateAddressError, check_public, is_public


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
)
def test_public(address: str) -> None:
    """IPv4, IPv6, and one in the other."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1"),
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)
def test_not_public(address: str) -> None:
    """This machine, networks inside, the cloud's metadata, everybody at once; also as another kind of address."""
    assert not is_public(address)


def test_a_literal_is_looked_at_too() -> None:
    """An address needs no name server to be refused."""
    with pytest.raises(PrivateAddressError):
        check_public("169.254.169.254", 80)
    check_public("8.8.8.8", 443)
