"""TABLES → LOG: rows of a table that only grows, or of an outbox, asked for now and then.

1. By a growing column: the cursor is its value in the last row that is in our log, with the row's key, and moves in the
   transaction of the events. Rows whose transaction commits late lie behind it: `overlap` reads that far back, and what
   is in the log already is found to be a duplicate.
2. An outbox needs no order: each row is one event and is deleted when that event is in our log. Deleted or not, told
   again it is a duplicate.
3. An event's id is made of the growing column and the key, or of the key alone for an outbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import orjson

from tidemill.clock import Clock
from tidemill.errors import CursorMoved, StorageError
from tidemill.events.event import Event
from tidemill.project.model import TableSource
from tidemill.sources.contract import SourceStatus
from tidemill.sources.database.table import Place, Row, TableReader, json_value
from tidemill.sources.report import SourceReport
from tidemill.storage.contract import Append, CursorMove, EventLog, Ledger

__all__ = ["PollingStage", "told"]

_RETRY_SECONDS = 2.0
#: Identities of rows read again that are remembered, about 100 bytes each.
_REMEMBERED = 20_000

Answer = TypeVar("Answer")


class PollingStage:
    """One table that is asked (implements `Source`)."""

    on_every_node = False

    def __init__(self, spec: TableSource, url: str, log: EventLog, ledger: Ledger, *, clock: Clock) -> None:
        """`url` is what `spec.url` leads to; it is never shown. Raises `SettingsError` when it cannot be used here."""
        self.name = spec.name
        self._spec = spec
        self._log = log
        self._ledger = ledger
        self._clock = clock
        self._table = TableReader(url, spec.table, column=spec.column, key=spec.key)
        self._report = SourceReport(spec.name, kind="table", clock=clock)
        self._cursor_name = f"table/{spec.name}"
        self._cursor: str | None = None
        #: Identities that are in the log, of rows that were read again; in order, the newest last.
        self._known: dict[str, None] = {}

    async def run(self) -> None:
        """Ask until cancelled."""
        self._report.begin()
        try:
            while True:
                try:
                    await self._ask()
                except CursorMoved:
                    continue  # another node was here a moment ago: go on from where that one stopped
                except StorageError as error:
                    self._report.stall(error)
                except self._table.failures as error:
                    self._report.stall(told(error))
                await self._clock.sleep(_RETRY_SECONDS)
        finally:
            self._report.stop()
            await asyncio.shield(asyncio.to_thread(self._table.close))

    def status(self) -> SourceStatus:
        """How it is doing now."""
        return self._report.status()

    async def _ask(self) -> None:
        """Ask until something goes wrong."""
        self._cursor = await self._ledger.cursor(self._cursor_name)
        if self._cursor is None and not (self._spec.is_outbox or self._spec.from_beginning):
            await self._begin_behind()
        while True:
            await self._log.wait_for_room()
            more = await (self._empty_outbox() if self._spec.is_outbox else self._read_on())
            self._report.live()
            if not more:
                await self._clock.sleep(self._spec.every.total_seconds())

    async def _begin_behind(self) -> None:
        last = await _off_loop(self._table.last)
        if last is not None:
            await self._append((), last)

    async def _read_on(self) -> bool:
        """Take the next rows; False when there are no more."""
        after = None if self._cursor is None else _place(self._cursor)
        if after is not None and self._spec.overlap:
            await self._read_again(after)
            after = None if self._cursor is None else _place(self._cursor)
        rows = await _off_loop(partial(self._table.read, after, self._spec.batch))
        if rows:
            await self._append(rows, rows[-1].place)
        return len(rows) == self._spec.batch

    async def _read_again(self, after: Place) -> None:
        """Rows up to the cursor that were committed late."""
        overlap = _overlap(after.value, self._spec.overlap)
        page = await _off_loop(partial(self._table.read, after, self._spec.batch, overlap=overlap))
        while page:
            late = [row for row in page if not _is_behind(row.place, after)]
            fresh = [row for row in late if await self._is_new(row)]
            if fresh:
                await self._append(fresh, None)
            if len(late) < len(page) or len(page) < self._spec.batch:
                return
            page = await _off_loop(partial(self._table.read, page[-1].place, self._spec.batch))

    async def _is_new(self, row: Row) -> bool:
        """Whether the log has not got the row; asked once for each, as far as memory goes."""
        event = self._event(row)
        if event.id in self._known:
            return False
        while len(self._known) >= _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[event.id] = None
        return await self._log.find(event.source, event.id) is None

    async def _empty_outbox(self) -> bool:
        rows = await _off_loop(partial(self._table.read, None, self._spec.batch))
        if rows:
            await self._append(rows, None)
            await _off_loop(partial(self._table.delete, [row.place.key for row in rows]))
        return len(rows) == self._spec.batch

    async def _append(self, rows: Sequence[Row], to: Place | None) -> None:
        cursor = None if to is None else _text(to)
        moves = () if cursor is None else (CursorMove(self._cursor_name, self._cursor, cursor),)
        job = Append(
            events=[self._event(row) for row in rows],
            cursors=moves,
            # A row that was changed and not told as another one has the same identity and other content.
            refuse_reuse=False,
            stage="table",
            origin=self.name,
        )
        self._report.count(await self._log.append(job))
        if cursor is not None:
            self._cursor = cursor

    def _event(self, row: Row) -> Event:
        spec, key = self._spec, json_value(row.place.key)
        identity = str(key) if spec.is_outbox else f"{json_value(row.place.value)}/{key}"
        return Event(
            id=identity,
            source=spec.event_source,
            type=spec.event_type,
            subject=f"{spec.table}/{key}"[:1024],
            datacontenttype="application/json",
            data={"table": spec.table, "row": dict(row.values)},
        )


async def _off_loop(work: Callable[[], Answer]) -> Answer:
    """What `work` returns, in a thread; not left alone when the caller is cancelled."""
    return await asyncio.shield(asyncio.to_thread(work))


def told(error: Exception) -> str:
    """The first line: what follows are the statement and a link. Errors of values repeat them, and are only named."""
    if isinstance(error, ValueError | TypeError):
        return f"{type(error).__name__}: a value in the table, or the URL, cannot be read"
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _text(place: Place) -> str:
    """A place as it is kept: values that JSON has not are marked."""
    return orjson.dumps([_marked(place.value), _marked(place.key)]).decode()


def _place(text: str) -> Place:
    value, key = orjson.loads(text)
    return Place(_unmarked(value), _unmarked(key))


def _marked(value: Any) -> Any:
    match value:
        case datetime():
            return {"datetime": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case bytes():
            return {"bytes": value.hex()}
        case int() | float() | str() | None:
            return value
        case _:
            return {"text": str(value)}


def _unmarked(value: Any) -> Any:
    match value:
        case {"datetime": str(text)}:
            return datetime.fromisoformat(text)
        case {"date": str(text)}:
            return date.fromisoformat(text)
        case {"bytes": str(text)}:
            return bytes.fromhex(text)
        case {"text": str(text)}:
            return text
        case _:
            return value


def _overlap(value: Any, overlap: float) -> Any:
    if isinstance(value, date):
        return timedelta(seconds=overlap)
    return int(overlap) if isinstance(value, int) else overlap


def _is_behind(place: Place, cursor: Place) -> bool:
    """Whether `place` comes after the cursor."""
    if place.value != cursor.value:
        return bool(place.value > cursor.value)
    return bool(place.key > cursor.key)
