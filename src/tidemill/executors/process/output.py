"""What a worker writes past Python (its C code, its subprocesses, its last words), read within bounds.

Nobody who writes ever waits for longer than a few milliseconds: a flood is read and thrown away, at a pace that costs
the flooder more than the service. Lines that Python code prints or logs come with the reply, and beside it through here
(`capture`), marked, for the case that no reply comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Sequence

from tidemill.executors.remote.capture import Lines
from tidemill.executors.remote.request import Line

__all__ = ["Output", "mark"]

_CHUNK = 1 << 16
#: Linux's F_SETPIPE_SZ, and the largest pipe that everybody may have, in bytes.
_SET_PIPE_SIZE = 1031
_PIPE_SIZE = 1 << 20
#: Bytes of one attempt after which its output is a flood.
_FLOOD = 1 << 18
#: Pause between two readings of a flood, in seconds, and its longest; readings in one.
_PAUSE = 0.005
_LONGEST_PAUSE = 0.02
_READINGS = 16
#: Bytes kept of the end.
_TAIL = 4096

_MARK, _END = "\x1e", "\x1f"


def mark(level: str, text: str) -> bytes:
    """A line that is told otherwise if the attempt is answered."""
    return f"{_MARK}{level}{_END}{text}\n".encode("utf-8", "backslashreplace")


class Output:
    """The reading end of the pipe that a worker's standard output and error go to."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, _SET_PIPE_SIZE, _PIPE_SIZE)
        self._descriptor = descriptor
        self._is_open = True
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.begin()
        self._loop.add_reader(descriptor, self._readable)

    def begin(self) -> None:
        """From here on it is another attempt's."""
        self._lines = Lines()
        self._marked = Lines()
        self._rest = b""
        self._tail = b""
        self._size = 0

    def take(self, *, is_answered: bool) -> tuple[Sequence[Line], int]:
        """The attempt's lines, and how many were left out; marked ones only of an attempt that is not answered."""
        self._read(_READINGS)
        self._add(self._rest)
        self._rest = b""
        if is_answered:
            return self._lines.kept, self._lines.dropped
        lines = [*self._marked.kept, *self._lines.kept]
        return lines, self._marked.dropped + self._lines.dropped

    @property
    def tail(self) -> str:
        """The end of what was written; the interpreter's own words about a crash are there."""
        text = self._tail.decode("utf-8", "backslashreplace")
        return "\n".join(line for line in text.splitlines() if not line.startswith(_MARK))

    def close(self) -> None:
        """Read no more."""
        if not self._is_open:
            return
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _readable(self) -> None:
        self._read(1)
        if self._is_open and self._size > _FLOOD:
            self._loop.remove_reader(self._descriptor)
            self._timer = self._loop.call_later(_PAUSE, self._read_on, _PAUSE)

    def _read_on(self, pause: float) -> None:
        self._timer = None
        if self._read(_READINGS):
            pause = min(pause * 1.1, _LONGEST_PAUSE)
            self._timer = self._loop.call_later(pause, self._read_on, pause)
        elif self._is_open:
            self._loop.add_reader(self._descriptor, self._readable)

    def _read(self, most: int) -> bool:
        """Read what is there, so many times at most; whether there was anything."""
        for number in range(most):
            if not self._is_open:
                return number > 0
            try:
                data = os.read(self._descriptor, _CHUNK)
            except BlockingIOError:
                return number > 0
            except OSError:
                data = b""
            if not data:
                self.close()
                return number > 0
            self._take_in(data)
        return True

    def _take_in(self, data: bytes) -> None:
        self._size += len(data)
        self._tail = (self._tail + data)[-_TAIL:]
        if self._size > _FLOOD:
            self._lines.dropped += data.count(b"\n")
            self._rest = b""
            return
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._add(line)

    def _add(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        if text.startswith(_MARK):
            level, _, text = text[1:].partition(_END)
            self._marked.add(level, text)
        elif text:
            self._lines.add("INFO", text)
