"""POSTGRESQL → LOG: rows that change, told by logical replication, one event each, in the order of commits.

1. The cursor is the end of the last transaction that is in our log; it moves in the transaction that holds that one's
   last events. Only then is the server told, so that it keeps what we have not got.
2. An event's id is the transaction's end and the change's number in it: told again, it is a duplicate.
3. A slot that is gone, or whose log the server has thrown away, is a gap event, and a new slot from now on.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from tidemill.clock import Clock, rfc3339
from tidemill.errors import CursorMoved, StorageError
from tidemill.events import lifecycle
from tidemill.events.event import Event
from tidemill.events.lifecycle import Type
from tidemill.project.model import PostgresSource
from tidemill.sources.contract import SourceStatus
from tidemill.sources.database.pgoutput import (
    Change,
    Decoder,
    Transaction,
    Undecodable,
    lsn_number,
    lsn_text,
)
from tidemill.sources.database.slot import LOST, Slot
from tidemill.sources.report import SourceReport
from tidemill.storage.contract import Append, CursorMove, DeadLetter, EventLog, Ledger

__all__ = ["ReplicationStage"]

_RETRY_SECONDS = 2.0
#: Changes asked for at once; a transaction comes whole, however large it is.
_CHANGES = 2000
#: Events in one transaction of ours.
_BATCH = 500
#: Bytes of the server's log without rows of ours after which they are let go.
_PASSED_BYTES = 1 << 20
_TYPES = {
    "insert": Type.ROW_INSERTED.value,
    "update": Type.ROW_UPDATED.value,
    "delete": Type.ROW_DELETED.value,
    "truncate": Type.TABLE_TRUNCATED.value,
}


class ReplicationStage:
    """One database that is followed (implements `Source`)."""

    on_every_node = False

    def __init__(
        self, spec: PostgresSource, url: str, log: EventLog, ledger: Ledger, *, clock: Clock
    ) -> None:
        """`url` is what `spec.url` leads to; it is never shown."""
        self.name = spec.name
        self._spec = spec
        self._url = url
        self._log = log
        self._ledger = ledger
        self._clock = clock
        self._report = SourceReport(spec.name, kind="postgres", clock=clock)
        self._cursor_name = f"postgres/{spec.name}"
        self._cursor: str | None = None
        #: Bytes of the server's log that are not taken yet.
        self._lag: int | None = None

    async def run(self) -> None:
        """Follow until cancelled."""
        self._report.begin()
        try:
            while True:
                try:
                    await self._follow()
                except CursorMoved:
                    continue  # another node was here a moment ago: go on from where that one stopped
                except StorageError as error:
                    self._report.stall(error)
                except LOST as error:
                    self._report.stall(error)
                await self._clock.sleep(_RETRY_SECONDS)
        finally:
            self._report.stop()

    def status(self) -> SourceStatus:
        """How it is doing now; `lag` is in bytes of the server's log."""
        return self._report.status(self._lag)

    async def _follow(self) -> None:
        """Read until something goes wrong."""
        spec = self._spec
        self._cursor = await self._ledger.cursor(self._cursor_name)
        slot = await Slot.connect(self._url, spec.slot, spec.publication)
        try:
            await self._prepare(slot)
            while True:
                await self._log.wait_for_room()
                if not await self._read(slot):
                    self._report.live()
                    await self._clock.sleep(spec.every.total_seconds())
        finally:
            await slot.close()

    async def _prepare(self, slot: Slot) -> None:
        """There is a slot that stands where our cursor is, or a gap event that says why not."""
        await slot.publish(self._spec.tables)
        state = await slot.state()
        if state is not None and state.is_lost:
            await slot.drop()
            await self._tell_gap("slot_lost", "the server has thrown away what was not read yet")
            state = None
        elif state is None and self._cursor is not None:
            await self._tell_gap(
                "slot_missing", "the replication slot is gone; changes since then are unknown"
            )
        if state is None:
            await slot.make()
        elif self._cursor is not None and lsn_number(self._cursor) > state.confirmed:
            await slot.advance(self._cursor)

    async def _tell_gap(self, reason: str, detail: str) -> None:
        gap = lifecycle.source_gap(
            name=self.name,
            kind="postgres",
            place=self._cursor or "",
            reason=reason,
            at_us=self._clock.now_us(),
            detail=detail,
        )
        self._report.count(await self._log.append(Append(events=[gap], stage="postgres", origin=self.name)))

    async def _read(self, slot: Slot) -> bool:
        """Take what is there; False when there is nothing."""
        before = await slot.state()
        if before is None:
            raise StorageError("the replication slot was dropped while it was read")
        messages = await slot.peek(_CHANGES)
        done = await self._take_all(messages)
        taken = done or 0
        if len(messages) < _CHANGES and before.end - before.confirmed >= _PASSED_BYTES:
            # Everything up to there was looked at. What does not concern our tables must not fill the server's disk.
            taken = max(taken, before.end)
        if taken > before.confirmed:
            await slot.advance(lsn_text(taken))
        self._lag = max(0, before.end - max(taken, before.confirmed)) if messages else 0
        return done is not None

    async def _take_all(self, messages: Sequence[bytes]) -> int | None:
        """Append the transactions that are told; the end of the last one."""
        decoder, done = Decoder(), None
        for message in messages:
            try:
                found = decoder.take(message)
            except Undecodable as error:
                await self._bury(error, message)
                raise StorageError(f"the server speaks in a way that is not understood: {error}") from error
            if found is not None:
                await self._take(found)
                done = found.end
        return done

    async def _take(self, transaction: Transaction) -> None:
        """Append the events of one transaction; the cursor moves with the last of them."""
        end = lsn_text(transaction.end)
        if self._cursor is not None and transaction.end <= lsn_number(self._cursor):
            return  # in our log already; the server was not told before we died
        events = [
            self._event(change, transaction, number)
            for number, change in enumerate(transaction.changes)
            if change.operation in self._spec.operations
        ]
        while len(events) > _BATCH:
            # The rest of a large transaction is told again after a crash, and found to be there.
            self._report.count(await self._log.append(self._job(events[:_BATCH])))
            events = events[_BATCH:]
        move = CursorMove(self._cursor_name, self._cursor, end)
        self._report.count(await self._log.append(self._job(events, move)))
        self._cursor = end

    def _job(self, events: Sequence[Event], *cursors: CursorMove) -> Append:
        return Append(events=events, cursors=cursors, refuse_reuse=False, stage="postgres", origin=self.name)

    async def _bury(self, error: Undecodable, body: bytes) -> None:
        letter = DeadLetter(
            # The same message is met again at every try and is one dead letter.
            id=blake2b(f"{self.name} {self._cursor}".encode() + body, digest_size=16).hexdigest(),
            at=self._clock.now_us(),
            stage="postgres",
            code="undecodable",
            detail=str(error),
            origin=self.name,
            coordinates={"slot": self._spec.slot, "after": self._cursor},
            body=body[: 1 << 20],
        )
        await self._log.append(Append(dead_letters=[letter], stage="postgres", origin=self.name))
        self._report.count((), refused=1)

    def _event(self, change: Change, transaction: Transaction, number: int) -> Event:
        end = lsn_text(transaction.end)
        data: dict[str, Any] = {
            "operation": change.operation,
            "schema": change.schema,
            "table": change.table,
            "row": change.row,
            "old": change.old,
            "lsn": end,
            "xid": transaction.xid,
        }
        if change.unchanged:
            data["unchanged"] = list(change.unchanged)
        return Event(
            id=f"{end}/{number}",
            source=self._spec.event_source,
            type=self._spec.event_type or _TYPES[change.operation],
            subject=_subject(change),
            time=rfc3339(transaction.committed_at),
            datacontenttype="application/json",
            data=data,
        )


def _subject(change: Change) -> str:
    """`schema.table`, and the row's key where the table has one."""
    place = f"{change.schema}.{change.table}"
    row = change.row if change.row is not None else change.old
    if row is None or not change.key:
        return place
    return f"{place}/{','.join(str(row.get(name)) for name in change.key)}"[:1024]
