"""Data that is kept beside the log: the name it has there, and the `dataref` that stands in its place.

CloudEvents `dataref` extension (claim check). Pure; nothing here reads or writes.

1. A name says whose the data is (the event's identity), how large it is and what it hashes to. An event leads to data
   of its own identity only: an outside event that carries somebody else's reference leads nowhere.
2. An event that came with a `dataref` of its own is left as it is.
3. What comes back is what was put away: JSON value, text or bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

import orjson

from tidemill.events import media
from tidemill.events.digest import identity_key
from tidemill.events.event import JSON, Event

__all__ = ["FOLDER", "Kept", "PutAway", "day_of", "put_away", "reference_of", "with_data"]

#: Of the store, for data of events.
FOLDER = "events"
_ATTRIBUTE = "dataref"
_NAME = re.compile(
    r"[^\n]{0,4096}/(events/\d{4}-\d{2}-\d{2}/([0-9a-f]{32})-(\d{1,12})-([0-9a-f]{64})\.(json|txt|bin))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where the data of an event is, and what it must be."""

    #: Relative to the store.
    name: str
    size: int
    sha256: str


class PutAway(NamedTuple):
    """An event without its data, and what must be in the store before it is logged."""

    event: Event
    name: str
    content: bytes


def day_of(at: int) -> str:
    """The folder of data that came at that time (microseconds since the epoch)."""
    return datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d")


def put_away(event: Event, url: str, *, above: int, at: int) -> PutAway | None:
    """The event as it is logged when its data, in bytes, is more than `above`; None when it stays whole."""
    if event.data is None or _ATTRIBUTE in event.extensions:
        return None
    kind, content = _content(event)
    if len(content) <= above:
        return None
    identity = identity_key(event.source, event.id).hex()
    name = f"{FOLDER}/{day_of(at)}/{identity}-{len(content)}-{sha256(content).hexdigest()}.{kind}"
    extensions = {**event.extensions, _ATTRIBUTE: f"{url}/{name}"}
    return PutAway(replace(event, data=None, extensions=extensions), name, content)


def reference_of(event: Event) -> Kept | None:
    """Where the data of a logged event is; None when it is in the event, or not kept by us."""
    found = event.extensions.get(_ATTRIBUTE)
    if found is None or event.data is not None or not isinstance(found, str):
        return None
    written = _NAME.fullmatch(found)
    if written is None or written[2] != identity_key(event.source, event.id).hex():
        return None
    return Kept(written[1], int(written[3]), written[4])


def with_data(event: Event, kept: Kept, content: bytes) -> Event | None:
    """The event as it was accepted; None when `content` is not what was put away."""
    if len(content) != kept.size or sha256(content).hexdigest() != kept.sha256:
        return None
    extensions = {name: value for name, value in event.extensions.items() if name != _ATTRIBUTE}
    data: JSON
    match kept.name.rpartition(".")[2]:
        case "json":
            data = orjson.loads(content)
        case "txt":
            data = content.decode()
        case _:
            data = content
    return replace(event, data=data, extensions=extensions)


def _content(event: Event) -> tuple[str, bytes]:
    if isinstance(event.data, bytes):
        return "bin", event.data
    if isinstance(event.data, str) and not media.is_json(event.datacontenttype):
        return "txt", event.data.encode()
    return "json", media.encode_data(media.JSON_TYPE, event.data)
