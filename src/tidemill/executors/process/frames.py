"""What service and worker say to each other over their socket: a kind, a length, and so many bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

__all__ = ["ALLOWANCE", "HEADER", "BrokenFrame", "Frames", "Kind", "make_frame"]

HEADER = struct.Struct("!BI")
#: Before a request: bytes of memory, seconds of processor time, seconds of silence; 0 for no limit.
ALLOWANCE = struct.Struct("!Qdd")


class Kind(IntEnum):
    """What a frame says."""

    #: The worker waits for requests.
    READY = 1
    #: Make this attempt; an allowance, then a request as it crosses to a cluster.
    REQUEST = 2
    #: What came of it.
    REPLY = 3
    #: The same, and the worker ends now: the attempt has left its marks on it.
    LAST_REPLY = 4
    #: The attempt is alive.
    BEAT = 5


_KINDS = frozenset(Kind)


class BrokenFrame(Exception):  # noqa: N818 - ends a worker
    """The other side says what nobody says: its process is not to be trusted any more."""


def make_frame(kind: Kind, *parts: bytes) -> bytes:
    """A frame with this content."""
    return b"".join((HEADER.pack(kind, sum(map(len, parts))), *parts))


class Frames:
    """Frames of a stream, as they come in."""

    def __init__(self, *, largest: int) -> None:
        self._largest = largest
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The frames that end in `data`. Raises `BrokenFrame`."""
        self._data += data
        while len(self._data) >= HEADER.size:
            number, size = HEADER.unpack_from(self._data)
            if size > self._largest or number not in _KINDS:
                raise BrokenFrame(f"a frame of kind {number} and {size} bytes")
            end = HEADER.size + size
            if len(self._data) < end:
                return
            payload = bytes(memoryview(self._data)[HEADER.size : end])
            del self._data[:end]
            yield Kind(number), payload
