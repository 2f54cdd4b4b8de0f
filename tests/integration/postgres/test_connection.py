"""Networks that swallow packets: both ends of a connection give up within seconds."""

from __future__ import annotations

import socket

import pytest

from tidemill.storage.postgres.connection import connect, open_pool

pytestmark = pytest.mark.postgres

_LONGEST_MS = 4000


def _patience(connection: object) -> tuple[int, int]:
    """(milliseconds without an acknowledgement until the kernel gives up, whether it asks while nothing is sent)."""
    ours = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    return (
        ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    )


async def test_connection_is_given_up_before_its_node_is_taken_for_dead(postgres_url: str) -> None:
    connection = await connect(postgres_url)
    try:
        milliseconds, asks = _patience(connection)
    finally:
        await connection.close()

    assert 0 < milliseconds < _LONGEST_MS
    assert asks


async def test_connections_for_reading_are_watched_as_well(postgres_url: str) -> None:
    pool = await open_pool(postgres_url)
    try:
        async with pool.acquire() as connection:
            milliseconds, asks = _patience(connection._con)
    finally:
        await pool.close()

    assert 0 < milliseconds < _LONGEST_MS
    assert asks
