"""The event log and the ledger: what sources write, in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidemill.events.event import Event, LoggedEvent
from tidemill.storage.contract.letters import DeadLetter

__all__ = ["Append", "Appended", "CursorMove", "EventFilter", "EventLog", "FileVersion", "Ledger"]


@dataclass(frozen=True, slots=True)
class CursorMove:
    """A source's cursor moves from `expected` (None: it does not exist yet) to `value`, or the job is refused."""

    name: str
    expected: str | None
    value: str


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One settled version of one file: the identity under which it is announced once and for ever."""

    source: str
    #: Relative to the source's folder, "/" as separator.
    path: str
    inode: int
    size: int
    mtime_ns: int
    #: Hex SHA-256 of the whole content.
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Events to be appended with the source's bookkeeping, all in one transaction or not at all."""

    events: Sequence[Event] = ()
    cursors: Sequence[CursorMove] = ()
    files: Sequence[FileVersion] = ()
    dead_letters: Sequence[DeadLetter] = ()
    #: What to do with an event whose identity is in the log with other content: True refuses the whole job
    #: with `EventRejected("id_reused")`; False puts that event into the dead letters (stage = `stage`,
    #: origin = `origin`) and goes on.
    refuse_reuse: bool = True
    stage: str = "http"
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Appended:
    """The log's answer for one event."""

    #: Position of the event (of the first one for a duplicate; 0 when it became a dead letter).
    position: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Conditions on listed events, joined by and."""

    type: str | None = None
    source: str | None = None
    subject: str | None = None
    id: str | None = None


class EventLog(Protocol):
    """The durable log of every event."""

    @property
    def head(self) -> int:
        """Position of the last committed event; 0 when the log is empty."""

    @property
    def routed(self) -> int:
        """Position up to which events are routed."""

    async def append(self, job: Append) -> list[Appended]:
        """Append events and move cursors in one transaction; one answer per event, in order.

        Durable on return. Idempotent by (`source`, `id`) for events, (path, inode, size, mtime_ns) for files.
        Raises `EventRejected` (`id_reused`), `CursorMoved`, `StoreUnavailable`, `DiskFull`; then nothing of the
        job is stored, or (commit's answer lost) sending it again is safe.
        """

    def overload(self) -> int | None:
        """Seconds after which a producer should come back when the backlog is full, None when there is room."""

    async def wait_for_room(self) -> None:
        """Return when the backlog has room; sources that pull wait here before they pull."""

    async def read(self, after: int, limit: int, *, as_logged: bool = False) -> list[LoggedEvent]:
        """Up to `limit` events with position > `after`, in order, from memory where they are still there.

        With their data, wherever that is kept, like all events but those of `list`; fewer than there are when the
        data is large. `as_logged`: with `dataref` in place of data that is kept elsewhere, and all of them.
        """

    async def filled(self, events: list[LoggedEvent]) -> list[LoggedEvent]:
        """Logged events with their data, or as many of the first as fit into memory; at least one.

        One whose data is lost keeps its reference (`tidemill.events.dataref.reference_of`). Raises `StoreUnavailable`.
        """

    async def wait_for_event(self, after: int) -> None:
        """Return as soon as `head` > `after`."""

    async def get(self, position: int) -> LoggedEvent | None:
        """The event at `position`."""

    async def at(self, positions: Sequence[int]) -> list[LoggedEvent]:
        """The events at these positions, in the order of the log; those that are gone are left out."""

    async def find(self, source: str, event_id: str) -> LoggedEvent | None:
        """The event with that identity."""

    async def list(self, where: EventFilter, *, before: int | None, limit: int) -> list[LoggedEvent]:
        """Events newest first with position < `before`."""


class Ledger(Protocol):
    """What sources remember: cursors and files. Written by `EventLog.append` only."""

    async def cursor(self, name: str) -> str | None:
        """The cursor's value; None when it was never moved."""

    async def cursors(self, prefix: str) -> dict[str, str]:
        """All cursors whose name starts with `prefix`."""

    def files(self, source: str) -> AsyncIterator[FileVersion]:
        """Every file version announced by `source`."""
