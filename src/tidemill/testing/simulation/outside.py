"""The world's side of the sources: a log with partitions and a folder, which keep what nobody has taken yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from tidemill.events.event import Event
from tidemill.testing.simulation.scenario import Message

__all__ = ["Folder", "Record", "Stream", "event_of"]


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a partition; `body` is no event now and then."""

    offset: int
    body: bytes
    #: Not to be seen before, in microseconds.
    visible_us: int


@dataclass(slots=True)
class Stream:
    """A log with partitions, as a broker keeps it."""

    partitions: Mapping[int, list[Record]] = field(default_factory=lambda: {0: [], 1: []})
    #: Offset per partition up to which the consumer said that it has everything.
    committed: dict[int, int] = field(default_factory=dict)

    def add(self, partition: int, body: bytes, visible_us: int) -> None:
        """Produce a record; a partition is read in its order."""
        records = self.partitions[partition]
        records.append(Record(len(records), body, visible_us))

    def read(self, partition: int, offset: int, now_us: int, limit: int = 5) -> list[Record]:
        """Records from `offset` on that can be seen."""
        found: list[Record] = []
        for record in self.partitions[partition][offset : offset + limit]:
            if record.visible_us > now_us:
                break
            found.append(record)
        return found


@dataclass(slots=True)
class Folder:
    """Files by path, each with its version and the message that is in it."""

    files: dict[str, tuple[int, Message]] = field(default_factory=dict)


def event_of(message: Message, *, data: object = None) -> Event:
    """The event of a message: the same whenever it is told."""
    source = f"/{message.via}/{message.partition}" if message.via == "stream" else f"/{message.via}"
    return Event(
        id=f"m{message.number}",
        source=source,
        type=message.type,
        datacontenttype="application/json",
        data={"number": message.number, "key": message.key} if data is None else data,
    )


def body_of(message: Message) -> bytes:
    """A message as a record carries it."""
    return orjson.dumps({"number": message.number, "type": message.type, "key": message.key})
