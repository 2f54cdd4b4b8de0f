"""Killed again and again while recorded events are told again: each original is told exactly once."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.notes import wait_until
from tests.acceptance.scene import Scene, staged

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

_POINTS = (
    "append.before_commit:1",
    "append.after_commit:1",
    "append.before_commit:2",
    "route.before_commit:1",
    "append.after_commit:2",
    "append.before_commit:3",
    "route.after_commit:1",
    "append.after_commit:3",
)
_EVENTS = 420
#: Events told in one second; a tenth of it is told in one transaction.
_RATE = 200


async def _replay(scene: Scene, **order: Any) -> None:
    answer = await scene.client.ask("POST", "/api/v1/replays", json=order)
    assert answer.status_code == 202, answer.text
    replay = answer.json()
    asked = {name: value for name, value in order.items() if name != "rate"}
    scene.sent.write(what="replay", id=replay["id"], after=0, until=replay["until"], **asked)


async def _running(scene: Scene) -> int:
    """Replays that have not ended."""
    (count,) = await scene.state.row(
        "SELECT count(*) FROM cursors WHERE name LIKE 'replay/%' AND value LIKE '%\"running\"%'"
    )
    return int(count)


async def test_each_original_is_told_once_when_a_replay_is_killed_at_its_commits(
    tmp_path: Path, postgres: str | None
) -> None:
    async with staged(tmp_path, postgres=postgres) as scene:
        await scene.server.start()
        load = scene.send(modes=("batch", "change"), files=False, jobs=False, pause=0.02)
        await wait_until(lambda: sum(sender.sent for sender in load.http) > _EVENTS)
        await load.finish()
        await scene.settle()
        await _replay(scene, type="com.example.order", triggers=["order"], rate=_RATE)
        await _replay(scene, type="com.example.change", rate=_RATE)
        await _replay(scene, triggers=["alarm", "gather"])
        scene.server.kill()

        for point in _POINTS:
            await scene.server.start(kill_at=point)
            assert await scene.server.wait(20.0) == -signal.SIGKILL, f"{point}: {scene.server.log_tail()}"
            assert await _running(scene)
        await scene.server.start()
        while await _running(scene):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
        await scene.settle()

        assert await scene.stop_and_check() == []
