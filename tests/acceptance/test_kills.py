"""Killed at every commit point and at random, started again each time: nothing lost, doubled or done again."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.acceptance.scene import Load, Scene, staged

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(360)]

#: How long a service under load may live until it has come to its kill point.
_REACHED_SECONDS = 20.0

#: The n-th time of each commit point that the process is killed at, in an order in which each follows another kind.
_POINTS = (
    "append.before_commit:1",
    "route.after_commit:2",
    "record.before_commit:1",
    "deliver.after_commit:1",
    "statement.before_commit:1",
    "append.after_commit:9",
    "route.before_commit:1",
    "record.after_commit:2",
    "deliver.before_commit:3",
    "statement.after_commit:3",
    "append.before_commit:14",
    "route.after_commit:11",
    "record.before_commit:23",
    "deliver.after_commit:12",
    "statement.before_commit:10",
    "append.after_commit:1",
    "route.before_commit:17",
    "record.after_commit:31",
    "deliver.before_commit:1",
    "statement.after_commit:11",
    "record.before_commit:5",
    "record.after_commit:9",
)


async def _kill_at(scene: Scene, load: Load, point: str) -> None:
    """Start, and return when the process has killed itself at `point`."""
    await scene.server.start(kill_at=point)
    code = await scene.server.wait(_REACHED_SECONDS)
    load.raise_failure()
    assert code == -signal.SIGKILL, f"{point} ended with {code}: {scene.server.log_tail()}"


async def test_service_keeps_its_promises_when_killed_at_every_commit_point(
    tmp_path: Path, postgres: str | None
) -> None:
    async with staged(tmp_path, postgres=postgres) as scene:
        load = scene.send()

        for point in _POINTS:
            await _kill_at(scene, load, point)
        await scene.server.start()
        await load.finish()
        await scene.settle()

        assert await scene.stop_and_check() == []
        assert scene.stream.connections > len(_POINTS) // 2
        assert load.files is not None
        assert load.files.landed > 20


@pytest.mark.kafka
async def test_service_keeps_its_promises_when_killed_at_random(
    tmp_path: Path, postgres: str | None, kafka: str, make_topic: Callable[[], Awaitable[str]]
) -> None:
    lives = random.Random(7)
    async with staged(tmp_path, postgres=postgres, kafka=(kafka, await make_topic())) as scene:
        load = scene.send(seed=7)

        for number in range(12):
            await scene.server.start()
            # The group waits ten seconds for its dead member: only a long life reads records under this load.
            await asyncio.sleep(11.5 if number in (5, 9) else lives.uniform(0.05, 2.0))
            load.raise_failure()
            scene.server.kill()
        await scene.server.start()
        await load.finish()
        await scene.settle()

        assert await scene.stop_and_check() == []
        assert load.records is not None
        assert load.records.produced > 100


@pytest.mark.kafka
async def test_records_are_neither_lost_nor_doubled_when_killed_at_their_commit(
    tmp_path: Path, postgres: str | None, kafka: str, make_topic: Callable[[], Awaitable[str]]
) -> None:
    async with staged(tmp_path, postgres=postgres, kafka=(kafka, await make_topic())) as scene:
        load = scene.send(modes=(), files=False, jobs=False, pause=0.02)

        for point in ("append.before_commit:2", "append.after_commit:1", "append.after_commit:4"):
            await _kill_at(scene, load, point)
        await scene.server.start()
        await load.finish()
        await scene.settle()

        assert await scene.stop_and_check() == []
        assert load.records is not None
        assert load.records.produced > 100
