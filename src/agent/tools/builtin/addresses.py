"""Which addresses a tool may connect to on somebody's word: public ones, and nothing else.

The check is made on the resolved address at the moment of connecting, in the connector's socket factory: whatever
the URL looked like (decimal or hex numbers, a name that changes its answer, a redirect), this is the address that
the packets would go to. Python's own `is_global` lets several ranges pass that lead inside (NAT64, 6to4 with an
embedded private address, multicast), so embedded IPv4 addresses are unwrapped and a list is added.
"""

import ipaddress
import socket
from collections.abc import Collection
from typing import Any, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7",
        "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"),)
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")


class ForbiddenAddress(OSError):
    """An address that is not public."""


def is_public(text: str) -> bool:
    """Whether an address (as the resolver gives it) may be connected to."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_is_public(each) for each in (address, *_embedded(address)))


def _is_public(address: Address) -> bool:
    # What holds an IPv4 address is judged by that; Pythons differ on whether 6to4 itself is global.
    if not address.is_global and not any(address in network for network in (*_NAT64, _SIX_TO_FOUR)):
        return False
    return not any(address.version == network.version and address in network for network in _REFUSED)


def _embedded(address: Address) -> list[Address]:
    """IPv4 addresses inside an IPv6 one. A mapped one is its IPv4 address altogether, and refused as written."""
    if not isinstance(address, ipaddress.IPv6Address):
        return []
    number = int(address)
    if any(address in network for network in _NAT64):
        return [ipaddress.IPv4Address(number & 0xFFFFFFFF)]
    if address in _SIX_TO_FOUR:
        return [ipaddress.IPv4Address(number >> 80 & 0xFFFFFFFF)]
    return []


class GuardedSockets:
    """A socket factory for `aiohttp.TCPConnector` that refuses addresses which are not public.

    `refused` holds those it met. `allow_private` are addresses with their ports that may be connected to all the
    same: servers of tests.
    """

    def __init__(self, allow_private: Collection[tuple[str, int]] = ()) -> None:
        self._allow_private = allow_private
        self.refused: list[str] = []

    def __call__(self, address_info: Any) -> socket.socket:
        """Called with what `getaddrinfo` gave, right before connecting. Raises ForbiddenAddress."""
        family, kind, protocol, _, address = address_info
        if not is_public(str(address[0])) and tuple(address[:2]) not in self._allow_private:
            self.refused.append(str(address[0]))
            raise ForbiddenAddress(f"{address[0]} is not a public address")
        return socket.socket(family=family, type=kind, proto=protocol)
