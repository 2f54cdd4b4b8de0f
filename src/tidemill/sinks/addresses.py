"""Where a delivery may go: names are resolved once, all answers checked, and only those are dialled.

Refused are addresses that no receiver can have: link-local ones (169.254.0.0/16 and fe80::/10, where clouds
keep their metadata services), unspecified, multicast and broadcast ones, and the cloud metadata address of
IPv6 (fd00:ec2::254), also when they come wrapped in an IPv6 address. Loopback and private addresses are
allowed: people deliver to services in their own network, and the address is written by whoever owns the
project, never by an event. One refused answer refuses the name, so that a mixed answer cannot be used to try
again until it works.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

from tidemill.errors import SinkUnavailable

__all__ = ["Resolver", "is_allowed", "resolve", "system_resolver"]

#: All addresses of (host, port), as text; raises `OSError` when there are none.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254")})
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


def is_allowed(address: str) -> bool:
    """Whether a delivery may be sent to this IP address (a zone after % is not looked at)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return not any(_is_refused(candidate) for candidate in _unwrapped(parsed))


async def resolve(host: str, port: int, resolver: Resolver) -> tuple[str, ...]:
    """The addresses of `host`, all of them allowed, in the resolver's order.

    Raises `SinkUnavailable` when there are none, or one of them is refused: nothing was sent, and the name
    may be corrected.
    """
    try:
        addresses = tuple(dict.fromkeys(await resolver(host, port)))
    except (OSError, UnicodeError):
        raise SinkUnavailable("the receiver's name cannot be resolved") from None
    if not addresses:
        raise SinkUnavailable("the receiver's name has no address")
    for address in addresses:
        if not is_allowed(address):
            raise SinkUnavailable(f"the receiver's name leads to {address}, where nothing is delivered")
    return addresses


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """What the operating system answers."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _is_refused(address: _Address) -> bool:
    if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA:
        return True
    return isinstance(address, ipaddress.IPv4Address) and (address in _THIS_NETWORK or address == _BROADCAST)


def _unwrapped(address: _Address) -> list[_Address]:
    """The address, and the IPv4 addresses that it carries inside (mapped, 6to4, NAT64)."""
    found: list[_Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour]
        if address in _NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        found.extend(candidate for candidate in inner if candidate is not None)
    return found
