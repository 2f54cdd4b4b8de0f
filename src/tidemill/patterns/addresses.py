"""IP addresses and blocks of them, as numbers. Pure; nothing is ever resolved.

An address is (version, number). An IPv6 address that carries an IPv4 one (::ffff:1.2.3.4 in its hexadecimal
form) is that IPv4 address. In IPv4 leading zeros are read as decimal.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

__all__ = ["WIDTHS", "Address", "Block", "parse_address", "parse_block"]

#: Bits of an address by version.
WIDTHS = {4: 32, 6: 128}

Address = tuple[int, int]

_V4 = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12}){3}\Z")
_V6 = re.compile(r"[0-9a-fA-F:]{2,39}\Z")


class Block(NamedTuple):
    """All addresses of `version` whose first `bits` bits are `prefix`."""

    version: int
    prefix: int
    bits: int


def parse_address(text: str) -> Address | None:
    """The address that `text` is; None when it is none."""
    if len(text) > 39:
        return None
    if ":" not in text:
        return _parse_v4(text)
    if not _V6.match(text):
        return None
    try:
        number = int(ipaddress.IPv6Address(text))
    except ValueError:
        return None
    return (4, number & 0xFFFFFFFF) if number >> 32 == 0xFFFF else (6, number)


def _parse_v4(text: str) -> Address | None:
    if not (7 <= len(text) <= 15 and _V4.match(text)):
        return None
    first, second, third, fourth = map(int, text.split("."))
    if first > 255 or second > 255 or third > 255 or fourth > 255:
        return None
    return 4, first << 24 | second << 16 | third << 8 | fourth


def parse_block(text: str) -> Block:
    """The block that `text` (`10.0.0.0/8`, `2001:db8::/32`) is; `ValueError` says in one sentence why not."""
    written, slash, bits = text.partition("/")
    if not slash or not re.fullmatch(r"[0-9]{1,3}", bits):
        raise ValueError(f"cidr takes an address and a number of bits, like 10.0.0.0/8, not {text!r}")
    address = parse_address(written)
    if address is None:
        raise ValueError(f"{text!r} is not a block of IP addresses")
    version, number = address
    width = WIDTHS[version]
    if int(bits) >= width:
        raise ValueError(
            f"{text!r} is not a block of IP addresses: an IPv{version} one has 0 to {width - 1} bits; "
            "write a single address as a plain string"
        )
    return Block(version, number >> (width - int(bits)), int(bits))
