"""A consumer that cannot leave its group is cut off, and leaves no connection behind."""

from __future__ import annotations

import asyncio

import pytest

from tidemill.sources.kafka import stage


class Consumer:
    """Stops when it is let go; its client notes that it was closed."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.closed = False
        self._client = self
        self._sync_task: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        await self.go.wait()
        await self.close()

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("answers", [True, False])
async def test_consumer_is_stopped_in_time_whether_the_brokers_answer_or_not(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_STOP_SECONDS", 5.0 if answers else 0.01)
    consumer = Consumer()
    if answers:
        consumer.go.set()

    async with asyncio.timeout(2):
        await stage._stop(consumer)

    assert consumer.closed
    assert len(asyncio.all_tasks()) == 1
