"""The workers that are there: from none to as many as may be, and back to none when nothing is to do.

A worker that has ended is replaced when there is work for another one, and not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Mapping
from typing import Protocol

from tidemill.clock import Clock, Wakeup
from tidemill.executors.process.exits import Exit
from tidemill.executors.process.fork_server import ForkServer
from tidemill.executors.process.worker import Worker

__all__ = ["Employer", "Workers"]

logger = logging.getLogger(__name__)

#: Time from SIGTERM to SIGKILL, in seconds; the operating system knows no virtual time.
_GRACE_SECONDS = 1.0
#: Looks in the time after which an idle worker is let go.
_LOOKS = 2


class Employer(Protocol):
    """Whoever has work for them."""

    def freed(self) -> None:
        """A worker is free."""

    def answered(self, worker: Worker, body: bytes) -> None:
        """What came of its attempt; the worker is free already, or about to end."""

    def beaten(self, worker: Worker) -> None:
        """Its attempt is alive."""

    def ended(self, worker: Worker, end: Exit) -> None:
        """A worker that was not free is gone."""

    def unable(self, reason: str) -> None:
        """There is no worker and there could be made none."""


class Workers:
    """See `Parent`: the fork server tells it what becomes of them."""

    def __init__(
        self,
        employer: Employer,
        *,
        limit: int,
        idle_seconds: float,
        environment: Mapping[str, str],
        largest: int,
        clock: Clock,
    ) -> None:
        """`largest` is the longest reply in bytes."""
        self._employer = employer
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._environment = environment
        self._largest = largest
        self._clock = clock
        self._server: ForkServer | None = None
        self._by_number: dict[int, Worker] = {}
        #: Last in, first out, so that those that are not needed stay idle.
        self._free: list[Worker] = []
        self._starting = 0
        self._last = 0
        self._look: Wakeup | None = None
        self._idle_looks = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._gone = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, the fork server's first where there is one."""
        workers = [one.pid for one in self._by_number.values() if one.pid]
        return workers if self._server is None else [self._server.pid, *workers]

    def take(self, digest: str) -> Worker | None:
        """A free worker, if possible one that knows this bundle; None when none is free."""
        free = self._free
        if not free:
            return None
        for place in range(len(free) - 1, -1, -1):
            if digest in free[place].bundles:
                return free.pop(place)
        return free.pop()

    def want(self, count: int) -> None:
        """So many attempts wait: make workers for them, as far as there may be more."""
        while self._starting < count and len(self._by_number) < self._limit:
            if not self._make():
                return

    def stop(self, worker: Worker) -> None:
        """End a worker: it is asked, and killed with all that it has started when it does not listen."""
        self._signal(worker, signal.SIGTERM)
        worker.killer = self._loop.call_later(_GRACE_SECONDS, self._signal, worker, signal.SIGKILL)

    async def close(self) -> None:
        """Return when all are gone."""
        if self._look is not None:
            self._look.cancel()
        for worker in list(self._by_number.values()):
            if worker in self._free:
                worker.close()
            elif worker.killer is None:
                self.stop(worker)
        self._free.clear()
        if self._server is not None and self._by_number:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), _GRACE_SECONDS * 2)
        server, self._server = self._server, None
        if server is not None:
            await server.close()
        for worker in list(self._by_number.values()):
            self._forget(worker)
            worker.output.close()
        if self._closing:
            await asyncio.wait(self._closing)

    # ── what the fork server tells ──

    def forked(self, number: int, pid: int) -> None:
        if (worker := self._by_number.get(number)) is not None:
            worker.pid = pid
            logger.debug("worker.started", extra={"pid": pid})

    def refused(self, number: int, reason: str) -> None:
        worker = self._by_number.get(number)
        if worker is None:
            return
        self._forget(worker)
        worker.output.close()
        if not self._by_number:
            self._employer.unable(reason)

    def exited(self, number: int, end: Exit) -> None:
        worker = self._by_number.get(number)
        if worker is None:
            return
        worker.link.read()  # a reply may have come before the end
        was_ready = worker.is_ready
        was_free = worker in self._free
        self._forget(worker)
        logger.debug("worker.ended", extra={"pid": worker.pid, "status": end.status})
        if was_ready and not was_free:
            self._employer.ended(worker, end)
        elif not was_ready and not self._by_number:
            self._employer.unable(worker.output.tail or "a worker ended before it could begin")
        worker.output.close()
        self._employer.freed()

    def orphaned(self, reason: str) -> None:
        self._server = None
        logger.error("executor.failed", extra={"executor": "process", "error": f"fork server: {reason}"})
        workers = list(self._by_number.values())
        for worker in workers:
            if worker.pid:
                with contextlib.suppress(
                    OSError
                ):  # they die with their parent, what they have started does not
                    os.killpg(worker.pid, signal.SIGKILL)
            if not worker.is_ready:
                self._forget(worker)
                worker.output.close()
        if not any(worker.is_ready for worker in workers):
            self._employer.unable(reason)
        for worker in workers:
            self.exited(worker.number, Exit(None))

    # ── making and ending ──

    def _make(self) -> bool:
        try:
            server = self._server
            if server is None:
                server = self._server = ForkServer(self, self._environment)
            ours, theirs = socket.socketpair()
            try:
                readable, writable = os.pipe()
            except OSError:
                ours.close()
                theirs.close()
                raise
        except OSError as error:
            if not self._by_number:
                # Not from inside of `start`: whoever asked is told later, as of everything else.
                self._loop.call_soon(self._employer.unable, str(error))
            return False
        self._last += 1
        worker = Worker(self._last, ours, readable, largest=self._largest, owner=self)
        self._by_number[worker.number] = worker
        self._starting += 1
        self._gone.clear()
        server.fork(worker.number, theirs, writable)
        if self._look is None:
            self._plan_look()
        return True

    def _forget(self, worker: Worker) -> None:
        if self._by_number.pop(worker.number, None) is None:
            return
        self._starting -= not worker.is_ready
        if worker in self._free:
            self._free.remove(worker)
        worker.close()
        if not self._by_number:
            self._gone.set()

    def _signal(self, worker: Worker, what: signal.Signals) -> None:
        if self._server is not None and worker.number in self._by_number:
            self._server.kill(worker.number, what)

    # ── what workers say ──

    def ready(self, worker: Worker) -> None:
        """It waits for its first attempt."""
        self._starting -= 1
        self._release(worker)

    def replied(self, worker: Worker, body: bytes, *, is_last: bool) -> None:
        """It has made its attempt."""
        worker.is_ending = is_last
        self._employer.answered(worker, body)

    def release(self, worker: Worker) -> None:
        """Its attempt is reported: it may have another one, unless it ends."""
        if not worker.is_ending and worker.number in self._by_number:
            self._release(worker)

    def beaten(self, worker: Worker) -> None:
        """Its attempt is alive."""
        self._employer.beaten(worker)

    def confused(self, worker: Worker) -> None:
        """It says what nobody says: no answer is one."""
        self._employer.answered(worker, b"")

    def _release(self, worker: Worker) -> None:
        worker.idle_looks = 0
        self._free.append(worker)
        self._employer.freed()

    # ── back to none ──

    def _plan_look(self) -> None:
        self._look = self._clock.call_later(self._idle_seconds / _LOOKS, self._let_idle_go)

    def _let_idle_go(self) -> None:
        for worker in list(self._free):
            worker.idle_looks += 1
            if worker.idle_looks > _LOOKS:
                self._free.remove(worker)
                worker.is_ending = True
                worker.close()  # it reads the end, and ends
        self._idle_looks = 0 if self._by_number else self._idle_looks + 1
        if self._idle_looks <= _LOOKS:
            self._plan_look()
            return
        self._look, self._idle_looks = None, 0
        server, self._server = self._server, None
        if server is not None:
            task = self._loop.create_task(server.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
