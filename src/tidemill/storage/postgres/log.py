"""The event log on PostgreSQL."""

from __future__ import annotations

from tidemill.clock import Clock
from tidemill.storage.claims import EventData
from tidemill.storage.limits import Limits
from tidemill.storage.log import StoredLog
from tidemill.storage.reading import Reading
from tidemill.storage.tail import Tail
from tidemill.storage.writing import Writing

__all__ = ["PostgresEventLog"]


class PostgresEventLog(StoredLog):
    """See `EventLog`. `head` and `routed` include what other nodes did, as far as it has been heard of."""

    routed = 0

    def __init__(
        self,
        *,
        writer: Writing,
        reading: Reading,
        tail: Tail,
        clock: Clock,
        limits: Limits,
        routed: int,
        data: EventData | None = None,
    ) -> None:
        super().__init__(writer=writer, reading=reading, tail=tail, clock=clock, limits=limits, data=data)
        self.routed = routed
