"""What runs in a worker: one attempt after the other, until there is nobody to make one for.

Nothing of an attempt may be there for the next one: what can be put back is put back (environment, present folder,
subprocesses); what cannot (a thread that goes on, memory that ran out, a signal to stop) ends the worker after its
reply.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tidemill.executors.process.allowance import allowed, data_size
from tidemill.executors.process.frames import ALLOWANCE, HEADER, Kind, make_frame
from tidemill.executors.process.output import mark
from tidemill.executors.process.system import adopt_orphans, die_with_parent, end_children, has_children
from tidemill.executors.remote import capture
from tidemill.executors.remote.worker import Surroundings, perform

__all__ = ["run"]

#: Growth of its memory after which a worker is replaced, in bytes.
_GROWTH = 256 << 20
#: Attempts between two looks at its memory.
_EVERY = 64
#: Beats of an attempt are sent at most so often in the time of one heartbeat.
_BEATS = 10


class _Stopped(SystemExit):
    """The service has asked the attempt to stop."""


def run(connection: int, output: int, folder: str) -> NoReturn:
    """Become a worker: called in the fork server's child, returns never."""
    code = 70
    try:
        parent = os.getppid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with contextlib.suppress(OSError):
            os.setsid()
        die_with_parent()
        adopt_orphans()
        own = _settle(connection, output, folder)
        if os.getppid() == parent:  # else it has died before the kernel would have told us
            _Worker(socket.socket(fileno=own)).serve()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)


def _settle(connection: int, output: int, folder: str) -> int:
    """Keep nothing of the fork server's but the interpreter; the connection's place among the descriptors."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    own = 3
    if connection != own:
        os.dup2(connection, own, inheritable=False)
    for other in _open_descriptors():
        if other > own:
            with contextlib.suppress(OSError):
                os.close(other)
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = None
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # rather than the service
    for name, descriptor in (("stdout", 1), ("stderr", 2)):  # the old ones take them for files
        stream = open(  # noqa: SIM115 - for as long as the process lives
            descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    faulthandler.enable(2)
    return own


def _open_descriptors() -> list[int]:
    try:
        return [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return list(range(min(os.sysconf("SC_OPEN_MAX"), 4096)))


class _Worker:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._writing = threading.Lock()
        self._pid = os.getpid()
        self._environment = dict(os.environ)
        self._folder = Path.cwd()
        self._made = 0
        self._size = data_size() if sys.platform == "linux" else 0
        self._is_at_work = False
        self._is_stopped = False

    def serve(self) -> None:
        """Until the service closes the connection, or an attempt has left its marks."""
        signal.signal(signal.SIGTERM, self._stop)
        if hasattr(signal, "SIGXCPU"):
            faulthandler.register(signal.SIGXCPU, file=2, chain=True)
        capture.echo(lambda level, text: os.write(2, mark(level, text)))
        self._send(Kind.READY)
        while (frame := self._receive()) is not None:
            memory, cpu_seconds, heartbeat = ALLOWANCE.unpack_from(frame)
            self._is_at_work = True
            surroundings = _Attempt(memory, cpu_seconds, self._beats(heartbeat))
            body = perform(frame[ALLOWANCE.size :], surroundings=surroundings)
            self._is_at_work = False
            if os.getpid() != self._pid:
                os._exit(0)  # a fork of the task's own that came back here
            if surroundings.has_run_out or not self._put_back():
                self._send(Kind.LAST_REPLY, body)
                return
            self._send(Kind.REPLY, body)

    def _put_back(self) -> bool:
        """End and undo what the attempt has left; False when that cannot be."""
        self._made += 1
        if os.environ != self._environment:
            os.environ.clear()
            os.environ.update(self._environment)
        if has_children():
            end_children()
            return False  # something here may still count on them
        try:
            os.chdir(self._folder)
        except OSError:
            return False
        if self._is_stopped or threading.active_count() > 1:
            return False
        if signal.getsignal(signal.SIGTERM) != self._stop:
            signal.signal(signal.SIGTERM, self._stop)
        return not self._size or self._made % _EVERY > 0 or data_size() - self._size < _GROWTH

    def _beats(self, seconds: float) -> Callable[[], None] | None:
        if not seconds:
            return None
        pause, last = seconds / _BEATS, 0.0

        def beat() -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= pause:
                last = now
                self._send(Kind.BEAT)

        return beat

    def _send(self, kind: Kind, *parts: bytes) -> None:
        with self._writing:
            self._connection.sendall(make_frame(kind, *parts))

    def _receive(self) -> bytes | None:
        head = self._read(HEADER.size)
        return None if head is None else self._read(HEADER.unpack(head)[1])

    def _read(self, size: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < size:
            try:
                data = self._connection.recv(size - len(parts))
            except OSError:
                data = b""
            if not data:
                return None
            parts += data
        return bytes(parts)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._is_at_work or os.getpid() != self._pid:
            os._exit(0)
        if self._is_stopped:
            return
        self._is_stopped = True
        # Where it was stopped, for the failure; then what its `finally` clauses do.
        faulthandler.dump_traceback(2)
        raise _Stopped("the attempt was stopped")


class _Attempt(Surroundings):
    """See `Surroundings`: with limits, and told of heartbeats."""

    def __init__(self, memory: int, cpu_seconds: float, beat: Callable[[], None] | None) -> None:
        self.beat = beat
        self.has_run_out = False
        self._limits = allowed(memory=memory, cpu_seconds=cpu_seconds)

    def call(self, function: Callable[[], Any]) -> Any:
        if self.beat is not None:
            self.beat()  # the first one says that the function is called
        try:
            with self._limits:
                return function()
        except MemoryError:
            self.has_run_out = True
            raise
