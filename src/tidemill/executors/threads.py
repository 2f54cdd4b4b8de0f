"""Threads that do not outlive the process: a function that never returns cannot keep a stopped service from ending.

(`concurrent.futures.ThreadPoolExecutor` joins its threads when the interpreter exits, however long that takes.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic, TypeVar

__all__ = ["Threads"]

T = TypeVar("T")


class Threads(Generic[T]):
    """Up to `size` threads, made when there is work for them; what they cannot do yet waits in order."""

    def __init__(self, size: int, *, name: str) -> None:
        self._size = size
        self._name = name
        self._made = 0
        self._idle = threading.Semaphore(0)
        self._work: SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = SimpleQueue()

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Call `function` in a thread; the future can be cancelled until it begins."""
        future: Future[T] = Future()
        self._work.put((future, function))
        if not self._idle.acquire(blocking=False) and self._made < self._size:
            self._made += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._made}", daemon=True).start()
        return future

    def close(self) -> None:
        """Threads end when their work is done; nobody waits for them."""
        for _ in range(self._made):
            self._work.put(None)

    def _run(self) -> None:
        while (job := self._work.get()) is not None:
            _call(*job)
            del job  # not kept while waiting for the next one
            self._idle.release()


def _call(future: Future[T], function: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
