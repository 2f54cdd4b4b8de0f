"""Which addresses deliveries may go to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tidemill.errors import SinkUnavailable
from tidemill.sinks.addresses import is_allowed, is_named, is_public, resolve, system_resolver


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "172.16.5.5", "93.184.216.34", "2606:4700::1", "fd12::1"],
)
def test_public_private_and_loopback_addresses_are_allowed(address: str) -> None:
    assert is_allowed(address)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "239.255.255.250",
        "ff02::1",
        "255.255.255.255",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "64:ff9b:1::a9fe:a9fe",
        "::a9fe:a9fe",
        "::ffff:0:a9fe:a9fe",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "not an address",
        "",
    ],
)
def test_addresses_that_no_receiver_has_are_refused(address: str) -> None:
    assert not is_allowed(address)


async def test_resolve_keeps_the_order_of_the_answers() -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        assert (host, port) == ("receiver.example", 443)
        return ["10.0.0.2", "10.0.0.1", "10.0.0.2"]

    assert await resolve("receiver.example", 443, resolver) == ("10.0.0.2", "10.0.0.1")


async def test_one_refused_answer_refuses_the_name() -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["10.0.0.1", "169.254.169.254"]

    with pytest.raises(SinkUnavailable, match=r"169\.254\.169\.254"):
        await resolve("receiver.example", 80, resolver)


@pytest.mark.parametrize("error", [OSError("no such host"), UnicodeError("label too long")])
async def test_name_without_an_address_is_unavailable(error: Exception) -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        raise error

    with pytest.raises(SinkUnavailable, match="cannot be resolved"):
        await resolve("receiver.example", 80, resolver)


async def test_empty_answer_is_unavailable() -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return []

    with pytest.raises(SinkUnavailable, match="no address"):
        await resolve("receiver.example", 80, resolver)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:4700::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.9",
        "100.64.0.1",
        "169.254.169.254",
        "198.18.0.1",
        "192.0.2.1",
        "240.0.0.1",
        "::1",
        "fd12::1",
        "fe80::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::1",
        "64:ff9b:1::7f00:1",
        "::127.0.0.1",
        "::10.0.0.1",
        "::ffff:0:127.0.0.1",
        "fec0::1",
        "5f00::1",
        "3fff::1",
        "192.0.0.8",
        "192.88.99.1",
        "2001::7f00:1",
        "no address",
    ],
)
def test_private_loopback_and_reserved_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("hooks.example.com", True),
        ("HOOKS.example.com.", True),
        ("a.partner.example", True),
        ("partner.example", False),
        ("evilpartner.example", False),
        ("example.com", False),
    ],
)
def test_hosts_are_allowed_by_name_or_below_a_star(host: str, named: bool) -> None:
    assert is_named(host, ["hooks.example.com", "*.partner.example"]) is named


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "::ffff:127.0.0.1", "localhost"]
)
async def test_other_spellings_of_loopback_lead_nowhere_for_a_guarded_name(host: str) -> None:
    with pytest.raises(SinkUnavailable, match="where nothing is delivered"):
        await resolve(host, 80, system_resolver, allows=is_public)


async def test_one_answer_that_is_not_public_refuses_a_guarded_name() -> None:
    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["93.184.216.34", "10.0.0.1"]

    with pytest.raises(SinkUnavailable, match=r"10\.0\.0\.1"):
        await resolve("receiver.example", 443, resolver, allows=is_public)
