"""Which addresses deliveries may go to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tidemill.errors import SinkUnavailable
from tidemill.sinks.addresses import is_allowed, resolve


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
