"""An event loop without a machine: no sockets, no threads, no time but its own.

1. Time passes only when nothing is ready, and a little with every step; it then is what the next timer says.
2. Which of the ready callbacks is next is drawn. In order where `disorder` is 0.
3. The steps are hashed as they are made: two runs with one seed have one trace.
4. Callbacks of a dead process are never called. What it leaves behind is unwound by `bury`, when all is over: unseen
   and in no time.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from hashlib import blake2b
from typing import Any, TypeVar

from tidemill.testing.simulation.process import Process, current_process

__all__ = ["NothingLeft", "SimulatedLoop"]

T = TypeVar("T")

#: What a step takes, in microseconds.
_STEP_US = 3
#: Most steps of a simulation: whoever makes more will never end.
_MOST_STEPS = 300_000
#: Most steps to unwind a dead process.
_BURIAL_STEPS = 20_000


class NothingLeft(Exception):  # noqa: N818 - it ends a simulation
    """Nobody is ready and no timer is set: whoever waits, waits for ever."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """One loop for all simulated processes and the world around them."""

    def __init__(self, chance: random.Random, *, disorder: float = 1.0) -> None:
        super().__init__()
        self._chance = chance
        self._disorder = disorder
        self._numbers = itertools.count(1)
        self._due_now: list[tuple[int, asyncio.Handle]] = []
        self._timers: list[tuple[int, int, asyncio.Handle]] = []
        self._buried: Process | None = None
        self._trace = blake2b(digest_size=16)
        #: Microseconds since the beginning.
        self.now_us = 0
        #: Steps made.
        self.steps = 0
        #: Set by whoever sees that it makes no sense to go on.
        self.end_because = ""
        #: What callbacks raised, as text.
        self.errors: list[str] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._note_error)

    @property
    def trace(self) -> str:
        """Hash of everything that has happened so far."""
        return self._trace.hexdigest()

    def note(self, text: str) -> None:
        """Let `text` be part of the trace."""
        self._trace.update(text.encode())

    # ── what asyncio asks of a loop ──

    def time(self) -> float:
        return self.now_us / 1_000_000

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self._is_wanted(handle):
            self._due_now.append((next(self._numbers), handle))
        elif self._buried is None and (process := _process_of(handle)) is not None:
            process.left_behind.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at_us(-int(-when * 1_000_000 // 1), callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at_us(
        self, due_us: int, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call `callback` at `due_us` microseconds since the beginning, never before."""
        handle = asyncio.TimerHandle(due_us / 1_000_000, callback, args, self, context)
        if self._is_wanted(handle):
            heapq.heappush(self._timers, (due_us, next(self._numbers), handle))
        return handle

    def call_soon_threadsafe(self, *_args: Any, **_kwargs: Any) -> Any:  # type: ignore[override]
        raise RuntimeError("a simulation has one thread")

    def run_in_executor(self, *_args: Any, **_kwargs: Any) -> Any:  # type: ignore[override]
        raise RuntimeError("a simulation has one thread")

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(next(self._numbers), loop=self)

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        task: asyncio.Task[T] = _Task(next(self._numbers), coroutine, loop=loop, context=context, **options)
        process = current_process(context) if context is not None else _here()
        if process is not None:
            process.own(task)
        return task

    def _note_error(self, _loop: asyncio.AbstractEventLoop, facts: dict[str, Any]) -> None:
        if self._buried is None:
            self.errors.append(f"{facts.get('message')}: {facts.get('exception')!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is passed over when it is due

    def _is_wanted(self, handle: asyncio.Handle) -> bool:
        process = _process_of(handle)
        if self._buried is not None:
            return process is self._buried
        return process is None or not process.is_dead

    # ── steps ──

    def _run_once(self) -> None:
        if self.steps >= _MOST_STEPS and self._buried is None:
            raise NothingLeft(f"no end after {_MOST_STEPS} steps")
        if self.end_because and self._buried is None:
            raise NothingLeft(self.end_because)
        handle = self._next()
        process = _process_of(handle)
        if process is not None and self._buried is None:
            if process.steps_left is not None and not process.is_dead:
                process.steps_left -= 1
                if process.steps_left < 0:
                    process.kill()
            if process.is_dead:
                process.left_behind.append(handle)
                return
        self.steps += 1
        self.now_us += _STEP_US
        handle._run()  # noqa: SLF001 - that is how loops call

    def _next(self) -> asyncio.Handle:
        ready, timers = self._due_now, self._timers
        while True:
            while timers and timers[0][0] <= self.now_us:
                _, number, timer = heapq.heappop(timers)
                if not timer.cancelled():
                    ready.append((number, timer))
            if ready:
                place = 0
                if len(ready) > 1 and self._disorder and self._chance.random() < self._disorder:
                    place = self._chance.randrange(len(ready))
                number, handle = ready.pop(place)
                if handle.cancelled():
                    continue
                self._trace.update(b"%d %d\n" % (self.now_us, number))
                return handle
            while timers and timers[0][2].cancelled():
                heapq.heappop(timers)
            if not timers:
                raise NothingLeft("nobody is ready and no timer is set")
            self.now_us = timers[0][0]

    # ── the end ──

    def bury(self, process: Process) -> None:
        """Unwind what a dead process has left behind; nothing of it is seen by anybody."""
        process.kill()
        for _, handle in self._due_now:
            if (owner := _process_of(handle)) is not None:
                owner.left_behind.append(handle)
        self._due_now = [(next(self._numbers), handle) for handle in process.left_behind]
        self._timers = []
        self._buried, self._disorder = process, 0.0
        made, end = self.steps, self.steps + _BURIAL_STEPS
        try:
            before = -1
            while (left := process.unfinished()) and before < self.steps < end:
                before = self.steps
                for task in left:
                    task.cancel()
                asyncio.events._set_running_loop(self)  # noqa: SLF001
                try:
                    self._exhaust(end)
                finally:
                    asyncio.events._set_running_loop(None)  # noqa: SLF001
        finally:
            self.steps = made
            self._buried = None
            self._due_now, self._timers = [], []

    def _exhaust(self, end: int) -> None:
        while self.steps < end:
            try:
                self._run_once()
            except NothingLeft:
                return


def _process_of(handle: asyncio.Handle) -> Process | None:
    return current_process(handle._context)  # type: ignore[attr-defined]  # noqa: SLF001


def _here() -> Process | None:
    return current_process(contextvars.copy_context())


class _Task(asyncio.Task[T]):
    """A task that sets keep in an order of ours: the default hash is an address."""

    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        self.number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.number


class _Future(asyncio.Future[Any]):
    """See `_Task`."""

    def __init__(self, number: int, *, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number
