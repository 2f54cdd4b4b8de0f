"""How much of the past is kept, under which definitions it was routed, and how it is told again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tidemill.events.event import Event
from tidemill.storage.contract.routing import Disposition
from tidemill.storage.replay import Replay

__all__ = ["Became", "Definitions", "Keeping", "Replays", "RoutedUnder", "Segment"]


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive events of the log."""

    first: int
    last: int
    #: When the newest of them was received, microseconds since the epoch.
    received_at: int
    #: Bytes of their bodies.
    size: int


@dataclass(frozen=True, slots=True)
class Became:
    """What became of one event for one trigger, with what was started where the run is still kept."""

    disposition: Disposition
    dag: str | None = None
    #: JSON text.
    parameters: bytes | None = None


class Keeping(Protocol):
    """How much of the past is kept; everything may be done twice, by one node after the other."""

    async def oldest(self) -> tuple[int, int] | None:
        """(position, received at) of the oldest event; None when the log is empty."""

    async def needed_from(self) -> int:
        """The lowest position that somebody still needs: router, deliveries, runs that have not ended, admission."""

    async def segment(self, first: int, last: int) -> Segment | None:
        """The events from `first` to `last`; None where there are none."""

    async def size(self, after: int, until: int) -> int:
        """Bytes of the bodies of events with position > `after` and <= `until`."""

    async def undelivered(self, first: int, last: int) -> list[tuple[str, int, int]]:
        """(subscription, position, attempts) of pending deliveries of the events from `first` to `last`."""

    async def became(self, first: int, last: int) -> list[Became]:
        """What became of the events from `first` to `last`."""

    async def drop(self, first: int, last: int, *, remember_since: int, remember_above: int) -> None:
        """Drop the events from `first` to `last` with their dispositions and deliveries; durable on return.

        Identities of those received at or after `remember_since`, or at or above position `remember_above`, are
        remembered: the same event sent again is still a duplicate. The newest event must not be dropped.
        """

    async def drop_runs(self, *, below: int, ended_before: int) -> int:
        """Drop runs, with their histories and results, of events below that position that ended before that time.

        Results that other runs refer to stay with those. Returns how many runs.
        """

    async def forget(self, *, before: int, identities_before: int, identities_below: int) -> None:
        """Forget dead letters and cached results older than `before`, and identities older than both of the others.

        Durable on return.
        """

    async def forget_data(self, *, before: int) -> int:
        """Delete data kept beside the log of days that ended a day or more before that time; how many days.

        Nothing in the log, and nobody who reads an archive, may need data that came before that time.
        """


@dataclass(frozen=True, slots=True)
class RoutedUnder:
    """From where on events are routed under a version of the project's definitions."""

    #: Events after this position.
    position: int
    version: str
    at: int


class Definitions(Protocol):
    """What the project's folders said, and from which event on."""

    async def begin(self, version: str, written: Sequence[Any], *, position: int) -> None:
        """Events after `position` are routed under `version` from now on; durable on return.

        `written` holds (list, entry) of each definition as JSON values.
        """

    async def at(self, position: int) -> RoutedUnder | None:
        """The version under which the event at `position` was routed; None before the first."""

    async def latest(self, *, limit: int) -> list[RoutedUnder]:
        """Versions that events were routed under, newest first."""

    async def written(self, version: str) -> list[tuple[str, Any]] | None:
        """(list, entry) of each definition of that version as written; None when it is not kept."""


class Replays(Protocol):
    """Orders to tell recorded events again."""

    async def add(self, replay: Replay) -> None:
        """Keep a new order; durable on return. Raises `CursorMoved` when there is one with its id."""

    async def list(self) -> list[Replay]:
        """All orders, oldest first."""

    async def get(self, replay_id: str) -> Replay | None:
        """One order."""

    async def advance(self, replay: Replay, to: Replay, events: Sequence[Event] = ()) -> None:
        """Append events and move the order from `replay` to `to` in one transaction.

        Raises `CursorMoved` when somebody else moved it: read it again.
        """

    async def forget(self, *, before: int) -> int:
        """Forget orders that have ended and were asked for before that time; durable on return. How many."""

    async def cancel(self, replay_id: str) -> Replay | None:
        """Stop an order where it stands; what it is now, None when there is none."""
