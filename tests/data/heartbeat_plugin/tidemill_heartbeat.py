"""A kind of source of a package of its own: a file whose lines become events, and a heartbeat."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tidemill.errors import CursorMoved, StorageError
from tidemill.events.event import Event
from tidemill.ids import new_id
from tidemill.sources.plugin import (
    Append,
    CursorMove,
    DeadLetter,
    Source,
    SourcePlugin,
    SourceReport,
    SourceStatus,
    Surroundings,
)


class LinesConfig(BaseModel):
    """`config` of a source of the kind `lines`."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1)
    every_seconds: float = Field(0.5, gt=0)


class LinesSource:
    """Tails a file; its cursor is the number of bytes that are in the log."""

    on_every_node = False

    def __init__(self, name: str, config: LinesConfig, around: Surroundings) -> None:
        self.name = name
        self._path = around.root / config.path
        self._every_seconds = config.every_seconds
        self._around = around
        self._report = SourceReport(name, kind="lines", clock=around.clock)

    def status(self) -> SourceStatus:
        return self._report.status()

    async def run(self) -> None:
        self._report.begin()
        try:
            while True:
                try:
                    async for job in self._jobs():
                        await self._append(job)
                    self._report.live()
                except (StorageError, OSError) as error:
                    self._report.stall(error)
                await self._around.clock.sleep(self._every_seconds)
        finally:
            self._report.stop()

    async def _append(self, job: Append) -> None:
        """Append one job, again and again until it is on disk."""
        while True:
            await self._around.log.wait_for_room()
            try:
                answers = await self._around.log.append(job)
            except CursorMoved:  # an earlier try was committed, and its answer lost
                answers = []
            except StorageError as error:
                self._report.stall(error)
                await self._around.clock.sleep(1)
                continue
            self._report.count(answers, len(job.dead_letters))
            return

    async def _jobs(self) -> AsyncIterator[Append]:
        """What is new, in pieces that end with a line."""
        cursor = f"lines/{self.name}"
        while True:
            told = await self._around.ledger.cursor(cursor)
            at = int(told or 0)
            lines = [line for line in _read(self._path, at) if line.endswith(b"\n")][:5]
            if not lines:
                return
            events, letters = [], []
            for line in lines:
                text = line.rstrip(b"\n")
                try:
                    events.append(
                        Event(
                            id=str(at),
                            source=f"/lines/{self.name}",
                            type="com.example.line",
                            data=text.decode(),
                        )
                    )
                except UnicodeDecodeError:
                    letters.append(self._letter(text, at))
                at += len(line)
            move = CursorMove(cursor, told, str(at))
            yield Append(
                events=events,
                dead_letters=letters,
                cursors=[move],
                refuse_reuse=False,
                stage="lines",
                origin=self.name,
            )

    def _letter(self, text: bytes, at: int) -> DeadLetter:
        return DeadLetter(
            id=new_id(),
            at=self._around.clock.now_us(),
            stage="lines",
            code="invalid_encoding",
            detail="the line is not UTF-8",
            origin=self.name,
            coordinates={"offset": at},
            body=text,
        )


def _read(path: Path, at: int) -> list[bytes]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(at)
        return file.readlines()


def build(name: str, config: LinesConfig, around: Surroundings) -> Source:
    return LinesSource(name, config, around)


plugin = SourcePlugin(LinesConfig, build)
nothing = object()
