"""What the service and its Ray driver say to each other over a socket: frames of a kind, a call's number and a body.

Both ends are the same version of this code on the same machine.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from enum import IntEnum

__all__ = ["Frames", "Kind", "Outgoing", "join", "split"]

#: Length of the body, kind, number of the call.
_HEADER = struct.Struct("<QBQ")
_LENGTH = struct.Struct("<I")


class Kind(IntEnum):
    """What a frame is."""

    #: To the driver: an attempt; options and request (see `join`).
    CALL = 1
    #: To the driver: many attempts in one request for a warm actor; the actor's number and request.
    PACK = 2
    #: To the driver: end the call, as far as Ray can.
    STOP = 3
    #: To the driver: what the cluster has now.
    MACHINES = 4
    #: From the driver: what the worker (or the cluster) answers.
    REPLY = 5
    #: From the driver: JSON of a `ClusterFailure`.
    FAILED = 6
    #: From the driver: a worker has begun the call.
    STARTED = 7


class Frames:
    """Frames out of a stream of bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, int, bytes]]:
        """Frames that are whole now."""
        buffer = self._buffer
        buffer += data
        place = 0
        while len(buffer) - place >= _HEADER.size:
            length, kind, call = _HEADER.unpack_from(buffer, place)
            end = place + _HEADER.size + length
            if len(buffer) < end:
                break
            yield Kind(kind), call, bytes(memoryview(buffer)[place + _HEADER.size : end])
            place = end
        if place:
            del buffer[:place]


class Outgoing:
    """Frames of one turn of the event loop, written together."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def send(self, kind: Kind, call: int, body: bytes = b"") -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(_HEADER.pack(len(body), kind, call))
        if body:
            self._parts.append(body)

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if not self._transport.is_closing():
            self._transport.writelines(parts)


def join(head: bytes, rest: bytes) -> bytes:
    """Two texts as one body."""
    return b"".join((_LENGTH.pack(len(head)), head, rest))


def split(body: bytes) -> tuple[bytes, bytes]:
    """What `join` made one of."""
    (length,) = _LENGTH.unpack_from(body)
    end = _LENGTH.size + length
    return body[_LENGTH.size : end], body[end:]
