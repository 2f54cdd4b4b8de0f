"""What runs in the fork server: a clean interpreter that has imported what workers need, and forks them when asked.

One thread, no user code, nothing but a socket to the service. It is the parent of all workers: it alone kills them, so
that no signal ever reaches a stranger who was given the same number, and tells what became of each. When the service is
gone, for whatever reason, everything here ends with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import selectors
import shutil
import signal
import socket
from collections import deque
from pathlib import Path
from typing import Any

import orjson

from tidemill.executors.process import child
from tidemill.executors.process.system import adopt_orphans, end_children
from tidemill.project.workflows import load_source

__all__ = ["main"]

_CHUNK = 1 << 16
#: A version that is loaded here, so that no worker has to import what loading takes.
_REHEARSAL = """
import pydantic
from tidemill import Context, dag, task

class Order(pydantic.BaseModel):
    lines: list[str]

@task
def work(order: Order, context: Context) -> int:
    return 1

@dag
def rehearsal(order: Order, count: int = 1):
    work(order)
"""
#: Time between two looks for the parent where the kernel cannot tell of its end, in seconds.
_LOOK_SECONDS = 1.0


def main(descriptor: int, parent: int, folder: Path) -> None:
    """Serve until the service is gone; `folder` holds one for each worker, and goes at the end."""
    adopt_orphans()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nursery = _Nursery(socket.socket(fileno=descriptor), parent, folder)
    load_source(_REHEARSAL, "workflows/rehearsal.py", "rehearsal")
    gc.collect()
    gc.freeze()  # so that collections in workers leave the pages shared
    try:
        nursery.serve()
    finally:
        nursery.end()


class _Nursery:
    def __init__(self, service: socket.socket, parent: int, folder: Path) -> None:
        self._service = service
        self._parent = parent
        self._folder = folder
        #: Number of a worker by its process id, and the other way round.
        self._numbers: dict[int, int] = {}
        self._pids: dict[int, int] = {}
        #: Two for each worker to come: its socket, and the pipe for its output.
        self._descriptors: deque[int] = deque()
        self._data = b""
        self._is_over = False

    def serve(self) -> None:
        wakeup, noise = socket.socketpair()
        for end in (wakeup, noise):
            end.setblocking(False)
        signal.set_wakeup_fd(noise.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector = selectors.DefaultSelector()
        selector.register(self._service, selectors.EVENT_READ)
        selector.register(wakeup, selectors.EVENT_READ)
        pause: float | None = _LOOK_SECONDS
        with contextlib.suppress(OSError, AttributeError):
            selector.register(os.pidfd_open(self._parent), selectors.EVENT_READ)
            pause = None
        self._tell({"ready": True})
        while not self._is_over and os.getppid() == self._parent:
            ready = {key.fileobj for key, _ in selector.select(pause)}
            if self._service in ready:
                self._listen()
            if wakeup in ready:
                with contextlib.suppress(BlockingIOError):
                    wakeup.recv(_CHUNK)
            self._reap()

    def end(self) -> None:
        """Nobody outlives the service."""
        for pid in self._numbers:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        end_children()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _listen(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._service, _CHUNK, 64)
        except OSError:
            data, descriptors = b"", []
        self._descriptors.extend(descriptors)
        if not data:
            self._is_over = True
            return
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            self._obey(orjson.loads(line))

    def _obey(self, order: dict[str, Any]) -> None:
        if "fork" in order:
            self._fork(order["fork"])
        elif (pid := self._pids.get(order["kill"])) is not None:
            try:
                os.killpg(pid, order["signal"])
            except ProcessLookupError:  # it has not come to make a group of its own
                os.kill(pid, order["signal"])

    def _fork(self, number: int) -> None:
        connection, output = self._descriptors.popleft(), self._descriptors.popleft()
        folder = self._folder / str(number)
        try:
            folder.mkdir(mode=0o700)
            pid = os.fork()
        except OSError as error:
            self._tell({"refused": number, "reason": str(error)})
        else:
            if not pid:
                child.run(connection, output, str(folder))
            self._numbers[pid], self._pids[number] = number, pid
            self._tell({"forked": number, "pid": pid})
        os.close(connection)
        os.close(output)

    def _reap(self) -> None:
        """Tell of workers that have ended, and end what they leave behind."""
        must_sweep = False
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                break
            pid = ended.si_pid
            number = self._numbers.pop(pid, None)
            if number is not None:  # it is still there, so that its group cannot be anybody else's
                with contextlib.suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            must_sweep |= number is None or status != 0
            if number is not None:
                del self._pids[number]
                self._tell({"exited": number, "status": status, "peak": usage.ru_maxrss << 10})
                shutil.rmtree(self._folder / str(number), ignore_errors=True)
        if must_sweep:
            end_children(spared=self._numbers.keys())

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # its end is seen above
            self._service.sendall(orjson.dumps(message) + b"\n")
