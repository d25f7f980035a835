"""Addresses of stations, and networks of them. No I/O."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from typing import NamedTuple


class Address(NamedTuple):
    """An address as numbers. ``network`` is the address, or for IPv6 its /64 network.

    In such a network one host can have any number of addresses.
    """

    version: int
    number: int
    network: str


#: The same stations send again and again.
@functools.lru_cache(maxsize=16384)
def parse(text: str | None) -> Address | None:
    """An IPv4 or IPv6 address; None for anything else. An IPv4 address in IPv6 form is IPv4."""
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            network = ipaddress.IPv6Network((int(address), 64), strict=False)
            return Address(6, int(address), str(network))
        address = address.ipv4_mapped
    return Address(4, int(address), str(address))


@functools.lru_cache(maxsize=16384)
def plain(text: str) -> str:
    """An address as it is archived: IPv4 in IPv6 form becomes IPv4.

    So an address is the same however the web server listens. Anything else is unchanged.
    """
    try:
        mapped = ipaddress.IPv6Address(text).ipv4_mapped
    except ValueError:
        return text
    return text if mapped is None else str(mapped)


def network_of(text: str | None) -> str:
    """The ``network`` of an address, empty if it is not one."""
    address = parse(text)
    return "" if address is None else address.network


class IpNetworks:
    """A set of networks such as 192.0.2.0/24, 2001:db8::/32, or single addresses.

    A lookup takes as long with thousands as with one. Raises ValueError for an invalid one.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        # By version, and by how many bits at the end are the host's: the bits before.
        self._known: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for text in texts:
            network = ipaddress.ip_network(text)
            version, prefix, bits = network.version, network.prefixlen, network.max_prefixlen
            number = int(network.network_address)
            mapped = getattr(network.network_address, "ipv4_mapped", None)
            if mapped is not None and prefix >= 96:
                version, prefix, bits, number = 4, prefix - 96, 32, int(mapped)
            host = bits - prefix
            self._known[version].setdefault(host, set()).add(number >> host)

    def __contains__(self, address: Address) -> bool:
        """Whether the address is in one of them."""
        known = self._known[address.version]
        return any(address.number >> host in numbers for host, numbers in known.items())
