"""Webhooks from 64 connections, a third of them duplicates, while the service is killed: one event and one run each."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from tests.acceptance.evidence import connect
from tests.acceptance.notes import wait_until
from tests.acceptance.scene import GITHUB_SECRET, staged
from tests.acceptance.storm import Storm

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]

_TOTAL = 900


async def test_each_accepted_delivery_of_a_storm_is_one_event_and_one_run(
    tmp_path: Path, postgres: str | None
) -> None:
    async with staged(tmp_path, postgres=postgres) as scene:
        scene.receiver.is_moody = False
        await scene.server.start()
        storm = Storm(scene.client, scene.sent, secret=GITHUB_SECRET, total=_TOTAL)
        blowing = asyncio.create_task(storm.run())

        def has_come_to(share: float) -> bool:
            return blowing.done() or storm.accepted > share * _TOTAL

        for share in (0.2, 0.5):
            await wait_until(partial(has_come_to, share))
            scene.server.kill()
            await scene.server.start()
        await blowing
        await scene.settle()

        assert scene.client.cut
        assert storm.accepted <= _TOTAL
        assert storm.duplicates >= _TOTAL // 2
        assert await scene.stop_and_check() == []
        with connect(scene.database) as database:
            events = database.execute(
                "SELECT count(*) FROM events WHERE type = 'com.example.push'"
            ).fetchone()
            runs = database.execute(
                "SELECT count(*), count(DISTINCT position) FROM runs WHERE dag = 'pushes'"
            )
            assert (*events, *runs.fetchone()) == (_TOTAL, _TOTAL, _TOTAL)
