"""A logical replication slot asked by SQL: peek, and advance when what was peeked is in our log.

Peeking leaves the slot where it is, so that what we did not commit is told again; it needs no replication connection,
and one session after the other may do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from tidemill.sources.database.pgoutput import lsn_number

__all__ = ["LOST", "Slot", "SlotState"]

#: What is raised while the server cannot be asked.
LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

_CONNECT_SECONDS = 10.0
_QUERY_SECONDS = 60.0


class SlotState:
    """Where a slot stands."""

    def __init__(self, *, confirmed: int, is_lost: bool, end: int) -> None:
        #: Everything up to here was taken.
        self.confirmed = confirmed
        #: True when the server has thrown away what the slot still needed.
        self.is_lost = is_lost
        #: Where the server's log ends.
        self.end = end


class Slot:
    """One slot and one publication of one database."""

    def __init__(self, connection: asyncpg.Connection, name: str, publication: str) -> None:
        self._connection = connection
        self._name = name
        self._publication = publication

    @classmethod
    async def connect(cls, url: str, name: str, publication: str) -> Slot:
        """Connect; raises one of `LOST`."""
        try:
            connection = await asyncpg.connect(url, timeout=_CONNECT_SECONDS, command_timeout=_QUERY_SECONDS)
        except ValueError:
            # The cause is cut off: it repeats the part that was stumbled over, which may be of the password.
            raise asyncpg.InterfaceError("the database's URL cannot be used") from None
        return cls(connection, name, publication)

    async def close(self) -> None:
        """Let go of the connection."""
        try:
            await self._connection.close(timeout=1.0)
        except LOST:
            self._connection.terminate()

    async def state(self) -> SlotState | None:
        """Where the slot stands; None when there is none."""
        row = await self._connection.fetchrow(
            "SELECT confirmed_flush_lsn::text, coalesce(wal_status, '') = 'lost', plugin,"
            " database = current_database(), pg_current_wal_lsn()::text FROM pg_replication_slots WHERE slot_name = $1",
            self._name,
        )
        if row is None:
            return None
        if row[2] != "pgoutput" or not row[3]:
            raise asyncpg.InterfaceError(f"the slot {self._name} belongs to something else; name another one")
        return SlotState(confirmed=lsn_number(row[0] or "0/0"), is_lost=row[1], end=lsn_number(row[4]))

    async def make(self) -> None:
        """Make the slot; it tells what is committed from now on."""
        await self._connection.execute(
            "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", self._name
        )

    async def drop(self) -> None:
        """Drop the slot."""
        await self._connection.execute("SELECT pg_drop_replication_slot($1)", self._name)

    async def publish(self, tables: Sequence[str]) -> None:
        """Make the publication of these tables where there is none; one that is there is left as it is."""
        if await self._connection.fetchval(
            "SELECT 1 FROM pg_publication WHERE pubname = $1", self._publication
        ):
            return
        names = ", ".join(_quoted_table(table) for table in tables)
        await self._connection.execute(f"CREATE PUBLICATION {_quoted(self._publication)} FOR TABLE {names}")

    async def peek(self, changes: int) -> list[bytes]:
        """Messages of whole transactions, about `changes` of them, from where the slot stands."""
        rows: list[Any] = await self._connection.fetch(
            "SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, $2,"
            " 'proto_version', '1', 'publication_names', $3)",
            self._name,
            changes,
            _quoted(self._publication),
        )
        return [row[0] for row in rows]

    async def advance(self, to: str) -> None:
        """Everything up to `to` is in our log: the server may throw it away."""
        await self._connection.execute(
            "SELECT pg_replication_slot_advance($1, $2::text::pg_lsn)", self._name, to
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted_table(table: str) -> str:
    return ".".join(_quoted(part) for part in table.split("."))
