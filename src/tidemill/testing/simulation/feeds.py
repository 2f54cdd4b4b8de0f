"""Sources inside the process, each as the contract of sources asks (`tidemill.sources.contract`): one that follows
offsets, one that keeps a ledger of files. They stand in for clients and kernels that have no simulated time."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from tidemill.clock import Clock
from tidemill.errors import StorageError
from tidemill.events.event import Event
from tidemill.storage.contract import Append, CursorMove, DeadLetter, FileVersion, Store
from tidemill.testing.simulation.outside import Folder, Record, Stream, event_of
from tidemill.testing.simulation.scenario import Message

__all__ = ["FolderFeed", "StreamFeed"]

_POLL_SECONDS = 0.7
_SCAN_SECONDS = 3.0
_RETRY_SECONDS = 0.5


#: What the real sources say of a record that is no JSON.
_UNREADABLE = "invalid_json"


class StreamFeed:
    """Reads one partition; the offset moves in the transaction that holds the events."""

    def __init__(
        self,
        stream: Stream,
        partition: int,
        store: Store,
        *,
        clock: Clock,
        now_us: Callable[[], int],
        safe: Callable[[Event], None],
    ) -> None:
        self._stream, self._partition = stream, partition
        self._store, self._clock = store, clock
        self._now_us, self._safe = now_us, safe
        self._name = f"kafka/simulated/{partition}"

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self._follow()
            except StorageError:
                await self._clock.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        cursor = await self._store.ledger.cursor(self._name)
        if (
            cursor is not None
        ):  # the answer of the last commit may have been lost, or its reader died before it came
            self._stream.committed[self._partition] = int(cursor)
        while True:
            records = self._stream.read(self._partition, int(cursor or 0), self._now_us())
            if not records:
                await self._clock.sleep(_POLL_SECONDS)
                continue
            await self._store.log.wait_for_room()
            following = str(records[-1].offset + 1)
            events, letters = self._decode(records)
            await self._store.log.append(
                Append(
                    events=events,
                    cursors=[CursorMove(self._name, cursor, following)],
                    dead_letters=letters,
                    refuse_reuse=False,
                    stage="kafka",
                    origin=self._name,
                )
            )
            cursor = following
            self._stream.committed[self._partition] = int(following)
            for event in events:
                self._safe(event)

    def _decode(self, records: list[Record]) -> tuple[list[Event], list[DeadLetter]]:
        events: list[Event] = []
        letters: list[DeadLetter] = []
        for record in records:
            try:
                fields = orjson.loads(record.body)
            except ValueError:
                letters.append(self._letter(record))
            else:
                message = Message(at=0, via="stream", partition=self._partition, **fields)
                events.append(event_of(message))
        return events, letters

    def _letter(self, record: Record) -> DeadLetter:
        return DeadLetter(
            id=f"letter-{self._partition}-{record.offset}",
            at=self._clock.now_us(),
            stage="kafka",
            code=_UNREADABLE,
            detail="the record is no event",
            origin=self._name,
            coordinates={"partition": self._partition, "offset": record.offset},
            body=record.body,
        )


class FolderFeed:
    """Looks through a folder now and then; each version of a file is told once."""

    def __init__(self, folder: Folder, store: Store, *, clock: Clock, safe: Callable[[Event], None]) -> None:
        self._folder, self._store = folder, store
        self._clock, self._safe = clock, safe

    async def run(self) -> None:
        """Scan until cancelled."""
        known = {(one.path, one.inode) async for one in self._store.ledger.files("folder")}
        while True:
            for path, (version, message) in list(self._folder.files.items()):
                if (path, version) in known:
                    continue
                event = event_of(message)
                file = FileVersion("folder", path, version, 1, version)
                try:
                    await self._store.log.append(
                        Append(
                            events=[event], files=[file], refuse_reuse=False, stage="files", origin="folder"
                        )
                    )
                except StorageError:
                    break
                known.add((path, version))
                self._safe(event)
            await self._clock.sleep(_SCAN_SECONDS)
