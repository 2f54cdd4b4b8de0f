"""A watched folder on a real store: what the tests of the file source share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from tidemill.clock import Clock, SystemClock
from tidemill.events.event import LoggedEvent
from tidemill.project.model import FileSource
from tidemill.sources.contract import SourceState
from tidemill.sources.files import FileSourceStage
from tidemill.storage.contract import DeadLetter, Store

#: Longest wait for anything, in seconds; only failing tests wait so long.
PATIENCE = 20.0


class Scene:
    """One folder and the store that its events go to."""

    def __init__(self, folder: Path, store: Store, *, clock: Clock | None = None) -> None:
        self.folder = folder
        self.store = store
        self.clock = clock or SystemClock()

    def build(self, *, scan_seconds: float = 30.0, **fields: Any) -> FileSourceStage:
        """A source of the folder, as after a restart."""
        given = {"name": "inbox", "path": self.folder, "quiet": timedelta(milliseconds=20), **fields}
        return FileSourceStage(
            FileSource(**given),
            self.store.log,
            self.store.ledger,
            clock=self.clock,
            scan_seconds=scan_seconds,
            runs=self.store.runs,
        )

    @asynccontextmanager
    async def running(
        self, source: FileSourceStage, *, until: SourceState = SourceState.LIVE
    ) -> AsyncIterator[FileSourceStage]:
        """The source runs; its first scan is over."""
        task = asyncio.ensure_future(source.run())
        try:
            async with asyncio.timeout(PATIENCE):
                while source.status().state is not until:
                    assert not task.done(), task
                    await asyncio.sleep(0.001)
            yield source
        finally:
            task.cancel()
            await asyncio.wait([task], timeout=PATIENCE)
            if not task.cancelled():
                task.result()

    def land(self, path: str, content: str = "content") -> Path:
        """Write a file elsewhere and rename it into place."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f".{place.name}.unfinished")
        unfinished.write_text(content)
        return unfinished.rename(place)

    async def logged(self, count: int) -> list[LoggedEvent]:
        """All events, as soon as there are at least so many."""
        log = self.store.log
        async with asyncio.timeout(PATIENCE):
            while log.head < count:
                await log.wait_for_event(log.head)
        return await log.read(0, 1_000_000)

    async def subjects(self, count: int) -> list[str]:
        """The subjects of all events, in order."""
        return [str(entry.event.subject) for entry in await self.logged(count)]

    async def dead_letters(self, count: int) -> list[DeadLetter]:
        """All dead letters, oldest first, as soon as there are at least so many."""
        async with asyncio.timeout(PATIENCE):
            while (  # noqa: ASYNC110
                len(found := await self.store.dead_letters.list(stage=None, before=None, limit=100)) < count
            ):
                await asyncio.sleep(0.002)
        return found[::-1]

    async def passed(self, marker: str = "last.csv") -> None:
        """Return when a file that lands now is announced, and whatever came before it with it."""
        head = self.store.log.head
        self.land(marker)
        async with asyncio.timeout(PATIENCE):
            while not any(  # noqa: ASYNC110
                entry.event.subject == marker for entry in await self.store.log.read(head, 1_000_000)
            ):
                await asyncio.sleep(0.002)


def digest(content: str) -> str:
    """Hex SHA-256."""
    return sha256(content.encode()).hexdigest()


async def until(condition: Any) -> None:
    """Return as soon as `condition()` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
