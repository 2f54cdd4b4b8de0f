"""Hearing of what other nodes committed: notifications wake us, and a look every second makes up for lost ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import orjson

from tidemill.errors import StorageError
from tidemill.storage.postgres.connection import LOST, connect
from tidemill.storage.postgres.queries import QUERIES
from tidemill.storage.postgres.transaction import CHANNEL

__all__ = ["Notices"]

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 3.0


class Notices:
    """One listening connection, and the looks behind it."""

    def __init__(
        self,
        url: str,
        *,
        own_session: Callable[[], int | None],
        heard: Callable[[dict[str, Any]], None],
        look: Callable[[], Awaitable[None]],
    ) -> None:
        self._url = url
        self._own_session = own_session
        self._heard = heard
        self._look = look
        self._connection: asyncpg.Connection | None = None
        self._closing = False
        self._woken = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="notices")

    async def close(self) -> None:
        """Stop listening."""
        self._closing = True
        self._woken.set()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None and not self._connection.is_closed():
            self._connection.terminate()
            await asyncio.sleep(0)

    async def _run(self) -> None:
        while not self._closing:
            if self._connection is None or self._connection.is_closed():
                with contextlib.suppress(*LOST, asyncpg.PostgresError, TimeoutError):
                    self._connection = await self._listen()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), _LOOK_SECONDS)
            await self._check()
            with contextlib.suppress(StorageError):
                await self._look()

    async def _check(self) -> None:
        """Find out about a connection that was cut without a word: it would listen for ever and hear nothing."""
        connection = self._connection
        if self._closing or connection is None or connection.is_closed():
            return
        try:
            await connection.execute(QUERIES["session"], timeout=_ANSWER_SECONDS)
        except (*LOST, asyncpg.PostgresError, TimeoutError):
            connection.terminate()

    async def _listen(self) -> asyncpg.Connection:
        connection = await connect(self._url)
        try:
            await connection.add_listener(CHANNEL, self._received)
        except BaseException:  # it is there and hears nothing
            connection.terminate()
            raise
        return connection

    def _received(self, connection: Any, session: int, channel: str, payload: object) -> None:
        if session == self._own_session():
            return  # handed over in memory
        try:
            news = orjson.loads(str(payload))
        except orjson.JSONDecodeError:
            return  # not one of ours
        if isinstance(news, dict):
            self._heard(news)
