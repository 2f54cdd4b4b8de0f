"""Connections to PostgreSQL: how they are opened, and what their errors mean.

A connection that is lost takes its session's locks with it: whoever holds shards by one has lost them. Networks that
swallow packets are found out by both sides within seconds (`tcp_user_timeout`), stopped processes by their peers. A
server that is merely slow is waited for: its machine acknowledges what it was sent.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import asyncpg

from tidemill.errors import DiskFull, SettingsError, StorageError, StoreUnavailable

__all__ = ["AILING", "LOST", "connect", "open_pool", "refusal", "translate"]

Connection = asyncpg.Connection

#: Errors after which the session is gone.
LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.CannotConnectNowError,
    # What the driver says of a connection that broke off while it was not looking.
    asyncpg.InternalClientError,
    # The server has become somebody's standby: another address may lead to the new primary.
    asyncpg.ReadOnlySQLTransactionError,
)
#: Errors of the server itself: no job is to blame, and none is tried alone.
AILING = (
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
)
_CONNECT_SECONDS = 5.0
#: Longest time one statement may take before its session is given up, in seconds.
_STATEMENT_SECONDS = 30.0
_SESSION = {
    "application_name": "tidemill",
    "synchronous_commit": "on",
    "timezone": "UTC",
    # Under a lock everything that was committed before must be seen, whatever the database's default is.
    "default_transaction_isolation": "read committed",
    # A process that was stopped within a transaction must not hold up the others.
    "idle_in_transaction_session_timeout": "5000",
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5000",
}
#: Our side of the same, where the platform has it. A node that is cut off ends its work before the others take it for
#: dead (`node_timeout_seconds`, 4 by default).
_SOCKET = {"TCP_USER_TIMEOUT": 3000, "TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2}
_READERS = 4


async def connect(url: str) -> asyncpg.Connection:
    """A connection of its own; raises what `LOST` and `asyncpg.PostgresError` hold."""
    connection = await asyncpg.connect(
        url, timeout=_CONNECT_SECONDS, command_timeout=_STATEMENT_SECONDS, server_settings=_SESSION
    )
    await _watch_network(connection)
    return connection


async def open_pool(url: str) -> asyncpg.Pool:
    """Connections for reading."""
    pool: asyncpg.Pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=_READERS,
        timeout=_CONNECT_SECONDS,
        command_timeout=_STATEMENT_SECONDS,
        server_settings={**_SESSION, "default_transaction_read_only": "on"},
        init=_watch_network,
    )
    return pool


async def _watch_network(connection: asyncpg.Connection) -> None:
    """Have the kernel break the connection off when the other machine acknowledges nothing."""
    ours = connection._transport.get_extra_info("socket")  # noqa: SLF001 - there is no other way to it
    if ours is None or ours.family not in (socket.AF_INET, socket.AF_INET6):
        return
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SOCKET.items():
        if (option := getattr(socket, name, None)) is not None:
            ours.setsockopt(socket.IPPROTO_TCP, option, value)


def translate(error: BaseException) -> StorageError:
    """What an error of the driver means to whoever asked."""
    match error:
        case StorageError():
            return error
        case asyncpg.DiskFullError():
            return DiskFull(f"the database has no room: {error}")
        case asyncpg.DataError() | asyncpg.SyntaxOrAccessError() | ValueError():
            return StorageError(f"the database refused a value: {error}")
    return StoreUnavailable(f"the database does not answer: {_first_line(error)}")


def refusal(error: BaseException, url: str) -> SettingsError | StoreUnavailable:
    """Why a service cannot start on the database at `url`, in one sentence without its password."""
    place = _place(url)
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return SettingsError(f"database: {place} does not let us in: {_first_line(error)}")
        case asyncpg.InvalidCatalogNameError():
            return SettingsError(f"database: {place} does not exist; create it first")
        case asyncpg.TooManyConnectionsError():
            return SettingsError(
                f"database: {place} has no connection left; raise max_connections or stop other clients"
            )
        case asyncio.TimeoutError() | OSError():
            return SettingsError(f"database: {place} cannot be reached: {_first_line(error) or 'no answer'}")
        case asyncpg.ClientConfigurationError() | ValueError():
            return SettingsError(f"database: {place} is not a usable address: {_first_line(error)}")
    return StoreUnavailable(f"database: {place}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    lines: list[str] = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _place(url: str) -> str:
    """The address without user and password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


Row = Any
