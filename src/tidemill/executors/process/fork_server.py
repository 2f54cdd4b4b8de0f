"""The service's side of the fork server: started when the first worker is wanted, asked, and watched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import orjson

from tidemill.executors.process.exits import Exit

__all__ = ["ForkServer", "Parent"]

_CHUNK = 1 << 16
#: Longest wait for the fork server to end by itself, in seconds.
_END_SECONDS = 5.0
_CODE = """\
import pathlib, sys
sys.path[:] = sys.argv[4:]
from tidemill.executors.process.nursery import main
main(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))
"""


class Parent(Protocol):
    """Whoever is told what becomes of workers, each by its number."""

    def forked(self, number: int, pid: int) -> None:
        """There is a process."""

    def refused(self, number: int, reason: str) -> None:
        """There is none, and will not be."""

    def exited(self, number: int, end: Exit) -> None:
        """It has ended, and what it left behind is killed."""

    def orphaned(self, reason: str) -> None:
        """The fork server is gone, and every worker with it."""


class ForkServer:
    """One process that forks; it has no thread, no descriptor and no variable of the service's."""

    def __init__(self, parent: Parent, environment: Mapping[str, str]) -> None:
        """Starts it and returns at once. Raises `OSError`."""
        self._parent = parent
        self._folder = tempfile.mkdtemp(prefix="tidemill-tasks-")
        self._end, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                    self._command(theirs.fileno()),
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except BaseException:
                self._end.close()
                shutil.rmtree(self._folder, ignore_errors=True)
                raise
        self._end.setblocking(False)
        self._data = b""
        #: What could not be sent yet, with the descriptors that go along.
        self._unsent: list[tuple[bytes, list[int]]] = []
        self._is_over = False
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._end.fileno(), self._listen)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fork(self, number: int, connection: socket.socket, output: int) -> None:
        """Ask for a worker with these descriptors, which are its own from now on."""
        self._send({"fork": number}, [connection.detach(), output])

    def kill(self, number: int, what: signal.Signals) -> None:
        """Send a signal to a worker and everything in its group; nothing happens when it has ended."""
        self._send({"kill": number, "signal": int(what)})

    async def close(self) -> None:
        """Return when it is gone, and its workers with it."""
        self._let_go()
        await asyncio.to_thread(self._await_end)

    def _command(self, descriptor: int) -> list[str]:
        # Isolated: neither variables nor the present folder say what is imported; the service's own path does.
        options = ["-I", "-X", f"utf8={sys.flags.utf8_mode}"]
        path = [str(Path(one).absolute()) for one in sys.path]
        return [
            sys.executable, *options, "-c", _CODE, str(descriptor), str(os.getpid()), self._folder, *path,
        ]  # fmt: skip

    def _send(self, order: Mapping[str, object], descriptors: list[int] | None = None) -> None:
        self._unsent.append((orjson.dumps(order) + b"\n", descriptors or []))
        if len(self._unsent) == 1:
            self._send_on()

    def _send_on(self) -> None:
        while self._unsent:
            data, descriptors = self._unsent[0]
            try:
                # A few bytes: they go whole or not at all.
                if not self._is_over:
                    socket.send_fds(self._end, [data], descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._end.fileno(), self._send_on)
                return
            except OSError:
                pass  # its end is told when it is read
            for descriptor in descriptors:
                os.close(descriptor)
            del self._unsent[0]
        if not self._is_over:
            self._loop.remove_writer(self._end.fileno())

    def _listen(self) -> None:
        try:
            data = self._end.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            match orjson.loads(line):
                case {"forked": int(number), "pid": int(pid)}:
                    self._parent.forked(number, pid)
                case {"refused": int(number), "reason": str(reason)}:
                    self._parent.refused(number, reason)
                case {"exited": int(number), "status": int(status), "peak": int(peak)}:
                    self._parent.exited(number, Exit(status, peak))

    def _lose(self) -> None:
        self._let_go()
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        said = self._await_end()
        last = said.strip().splitlines()[-1:] or [f"exit code {self._process.returncode}"]
        self._parent.orphaned(last[0][:500])

    def _let_go(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._loop.remove_reader(self._end.fileno())
        self._loop.remove_writer(self._end.fileno())
        self._end.close()
        self._send_on()

    def _await_end(self) -> str:
        """What it said at last."""
        try:
            _, said = self._process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            _, said = self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)
        return bytes(said).decode("utf-8", "replace")
