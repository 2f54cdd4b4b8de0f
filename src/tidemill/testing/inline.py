"""A SQLite database without threads: every statement is made at once, in the event loop.

Nothing is ever under way, so that a harness knows exactly when its stages rest, and the order of everything follows
from the order of calls. Commits do not wait for the disk: a harness that dies takes its process's memory with it, never
the kernel's.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Generator
from typing import Any

from tidemill.storage.sqlite.connection import Session

__all__ = ["InlineSession"]

_DURABLE = "PRAGMA synchronous=FULL"
_FAST = "PRAGMA synchronous=OFF"


class InlineSession(Session):
    """A `Session` whose thread is the caller's."""

    def __init__(self, connector: Callable[[], sqlite3.Connection], iter_chunk_size: int) -> None:
        super().__init__(connector, iter_chunk_size)
        self._tx = _AtOnce()  # type: ignore[assignment]

    def __await__(self) -> Generator[Any, None, InlineSession]:
        yield from self._connect().__await__()
        return self

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._running or self._connection is None:
            raise ValueError("Connection closed")
        if args[:1] == (_DURABLE,):
            args = (_FAST, *args[1:])
        return fn(*args, **kwargs)


class _AtOnce:
    """The queue of a connection's thread, where there is no thread."""

    def put_nowait(self, job: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        future, function = job
        try:
            result = function()
        except BaseException as error:
            if future is None:
                raise
            future.set_exception(error)
        else:
            if future is not None:
                future.set_result(result)
