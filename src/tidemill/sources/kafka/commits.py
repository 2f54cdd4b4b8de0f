"""How far we are, told to the consumer group now and then for people's lag tools; never read back here."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from tidemill.clock import Clock

__all__ = ["GroupCommits"]

_INTERVAL_US = 5_000_000
_LAST_SECONDS = 2.0


class GroupCommits:
    """The group's own offsets, behind the ledger's by some seconds."""

    def __init__(self, consumer: Any, *, clock: Clock) -> None:
        self._consumer = consumer
        self._clock = clock
        self._offsets: dict[TopicPartition, int] = {}
        self._last_at = clock.now_us()
        self._running: asyncio.Task[None] | None = None

    def note(self, partition: TopicPartition, offset: int) -> None:
        """Everything before `offset` is in the log."""
        self._offsets[partition] = offset

    def commit_nowait(self) -> None:
        """Start a commit when one is due and none is under way."""
        now = self._clock.now_us()
        if not self._offsets or 0 <= now - self._last_at < _INTERVAL_US:
            return
        if self._running is None or self._running.done():
            self._last_at = now
            self._running = asyncio.create_task(self._commit())

    async def close(self) -> None:
        """Commit a last time, if that goes quickly."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._commit()

    async def _commit(self) -> None:
        ours = self._consumer.assignment()
        offsets = {partition: offset for partition, offset in self._offsets.items() if partition in ours}
        self._offsets.clear()
        if offsets:
            with contextlib.suppress(KafkaError):  # the next one tells more
                await self._consumer.commit(offsets)
