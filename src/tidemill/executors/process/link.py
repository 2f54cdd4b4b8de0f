"""The service's end of a worker's socket: frames in, frames out, and never a wait."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from tidemill.executors.process.frames import BrokenFrame, Frames, Kind, make_frame

__all__ = ["Link"]

_CHUNK = 1 << 18


class Link:
    """One socket, read as data comes and while there is any."""

    def __init__(
        self,
        end: socket.socket,
        *,
        largest: int,
        received: Callable[[Kind, bytes], None],
        broken: Callable[[str], None],
    ) -> None:
        """`largest` frame in bytes; `broken` is called when the other side says what nobody says."""
        end.setblocking(False)
        self._end = end
        self._frames = Frames(largest=largest)
        self._received = received
        self._broken = broken
        self._unsent = bytearray()
        self._is_open = True
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end.fileno(), self.read)

    def send(self, kind: Kind, *parts: bytes) -> None:
        """Send a frame now, or as far as the other side reads."""
        frame = make_frame(kind, *parts)
        if not self._is_open:
            return
        if not self._unsent:
            sent = self._send(frame)
            if sent == len(frame):
                return
            frame = frame[sent:]
            self._loop.add_writer(self._end.fileno(), self._send_on)
        self._unsent += frame

    def read(self) -> None:
        """Take what is there."""
        while self._is_open:
            try:
                data = self._end.recv(_CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()  # what became of the worker, its parent tells
                return
            try:
                for kind, payload in self._frames.feed(data):
                    self._received(kind, payload)
            except BrokenFrame as error:
                self.close()
                self._broken(str(error))
            if len(data) < _CHUNK:
                return

    def close(self) -> None:
        """Hear and say nothing any more; an idle worker ends."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._end.fileno())
        self._loop.remove_writer(self._end.fileno())
        self._end.close()

    def _send(self, data: bytes | bytearray) -> int:
        with contextlib.suppress(BlockingIOError):
            try:
                return self._end.send(data)
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise
                return len(data)  # nobody is there; its parent tells
        return 0

    def _send_on(self) -> None:
        del self._unsent[: self._send(self._unsent)]
        if not self._unsent:
            self._loop.remove_writer(self._end.fileno())
