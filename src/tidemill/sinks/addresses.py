"""Where a delivery may go: names are resolved once, all answers checked, and only those are dialled.

Refused are addresses that no receiver can have: link-local ones (169.254.0.0/16 and fe80::/10, where clouds
keep their metadata services), unspecified, multicast and broadcast ones, and other metadata addresses of
clouds, also when they come wrapped in an IPv6 address (mapped, compatible, translated, 6to4, NAT64). Loopback
and private addresses are allowed: people deliver to services in their own network, and the address is written
by whoever owns the project, never by an event. One refused answer refuses the name, so that a mixed answer
cannot be used to try again until it works. Where the address was written by somebody else (a subscription made
by API), only public addresses are allowed (`is_public`), unless its host is allowed by name.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence

from tidemill.errors import SinkUnavailable

__all__ = ["Resolver", "is_allowed", "is_named", "is_public", "resolve", "system_resolver"]

#: All addresses of (host, port), as text; raises `OSError` when there are none.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Other networks whose last 32 bits are an IPv4 address: local NAT64 (RFC 8215), compatible, translated (RFC 2765).
_CARRIERS = tuple(map(ipaddress.IPv6Network, ("64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96")))
_LOOPBACK = ipaddress.IPv6Address("::1")
#: Of IPv6 only this is given out to anybody (IANA), but for what is special in it.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
#: Not public, although some versions of the standard library have it so: relays, documentation, special purposes.
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20")))
#: Where clouds keep their metadata services beside 169.254.169.254.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"))
)
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


def is_allowed(address: str) -> bool:
    """Whether a delivery may be sent to this IP address (a zone after % is not looked at)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return not any(_is_refused(candidate) for candidate in _unwrapped(parsed))


def is_public(address: str) -> bool:
    """Whether this IP address, and every address inside it, is one of the public internet."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return is_allowed(address) and all(map(_is_global, _unwrapped(parsed)))


def is_named(host: str, allowed: Sequence[str]) -> bool:
    """Whether `host` is one of the allowed hosts; `*.example.com` allows every name below it."""
    name = host.lower().rstrip(".")
    return any(
        name == one or (one.startswith("*.") and name.endswith(one[1:]) and len(name) > len(one) - 1)
        for one in (each.lower().rstrip(".") for each in allowed)
    )


async def resolve(
    host: str, port: int, resolver: Resolver, *, allows: Callable[[str], bool] = is_allowed
) -> tuple[str, ...]:
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
        if not allows(address):
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


def _is_global(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None or address in _NAT64:
            return True  # judged by what is in it
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not any(address in network for network in _SPECIAL)


def _is_carrier(address: ipaddress.IPv6Address) -> bool:
    return any(address in network for network in _CARRIERS)


def _unwrapped(address: _Address) -> list[_Address]:
    """The address, and the IPv4 addresses that it carries inside (mapped, 6to4, NAT64)."""
    found: list[_Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour]
        if address != _LOOPBACK and (address in _NAT64 or _is_carrier(address)):
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        found.extend(candidate for candidate in inner if candidate is not None)
    return found
