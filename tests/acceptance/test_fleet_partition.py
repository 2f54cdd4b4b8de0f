"""A node that is cut off from the database and cannot know it: others have its work, its late writes are refused."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

import httpx
import pytest
from tests.acceptance.fleet import (
    ANSWER_SECONDS,
    acknowledged,
    begin_runs,
    cancel_jobs,
    has_logged,
    refused_records,
    runs_of,
    start,
    wait_for_next_attempts,
    wait_for_shares,
)
from tests.acceptance.notes import now_us, wait_until
from tests.acceptance.scene import staged

from tidemill.testing.network import CuttableNetwork
from tidemill.testing.postgres import PostgresServer

pytestmark = [pytest.mark.acceptance, pytest.mark.postgres, pytest.mark.timeout(180)]

#: Promise P9; six seconds on a machine that has nothing else to do.
_TAKE_OVER_SECONDS = 30
#: The node itself finds out within this time: long before a statement is given up.
_NOTICE_SECONDS = 8


async def test_node_that_is_cut_off_loses_its_shards_and_its_late_writes(
    tmp_path: Path, network: CuttableNetwork, remote_postgres: PostgresServer
) -> None:
    address = network.addresses[1]
    url = remote_postgres.create_database("acceptance")
    weak = {"TIDEMILL_DATABASE": remote_postgres.url("acceptance", address=address)}
    async with staged(
        tmp_path,
        postgres=url,
        nodes=3,
        settings_of={"node-3": weak},
        answer_seconds=ANSWER_SECONDS,
    ) as scene:
        load = scene.send(seed=13)
        await start(*scene.servers)
        *others, cut_off = scene.servers

        for number in range(2):
            await wait_for_shares(scene, "node-1", "node-2", "node-3")
            known = cut_off.log().count("store.session_lost")
            refused = await refused_records(cut_off)
            begun = acknowledged(scene)
            jobs = runs_of(scene, await begin_runs(scene, "job", f"{number}"), cut_off)
            # Some of them end between the cut and the moment in which the node can know of it.
            await begin_runs(scene, "nap", f"{number}", count=24)
            network.cut(address)
            cut_at = now_us()

            await wait_until(lambda: cut_off.log().count("store.session_lost") > known)  # noqa: B023
            assert now_us() - cut_at < _NOTICE_SECONDS * 1_000_000
            await wait_for_next_attempts(scene, jobs, others)
            assert now_us() - cut_at < _TAKE_OVER_SECONDS * 1_000_000
            await _post_in_vain(cut_off.url)
            await wait_for_shares(scene, "node-1", "node-2")
            load.raise_failure()
            assert acknowledged(scene) > begun + 10

            network.mend(address)
            await wait_for_shares(scene, "node-1", "node-2", "node-3", seconds=10)
            assert await refused_records(cut_off) > refused
        await load.finish()
        await cancel_jobs(scene)
        await scene.settle()

        assert await scene.stop_and_check() == []


async def _post_in_vain(url: str) -> None:
    """An event that cannot be on disk is not acknowledged (the checker looks for it in the log)."""
    event = {
        "specversion": "1.0",
        "id": "in-vain",
        "source": "/acceptance/events",
        "type": "com.example.order",
    }
    async with httpx.AsyncClient(trust_env=False, timeout=15.0) as client:
        answer = await client.post(
            url + "/events",
            content=json.dumps(event),
            headers={"content-type": "application/cloudevents+json"},
        )
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1


async def test_node_whose_connections_are_cut_for_a_moment_only_goes_on(
    tmp_path: Path, network: CuttableNetwork, remote_postgres: PostgresServer
) -> None:
    address = network.addresses[1]
    url = remote_postgres.create_database("acceptance")
    weak = {"TIDEMILL_DATABASE": remote_postgres.url("acceptance", address=address)}
    async with staged(tmp_path, postgres=url, nodes=2, settings_of={"node-2": weak}) as scene:
        load = scene.send(seed=14)
        await start(*scene.servers)
        await wait_for_shares(scene, "node-1", "node-2")

        for _ in range(4):
            network.cut(address)
            await asyncio.sleep(0.7)
            network.mend(address)
            await asyncio.sleep(1.0)
            load.raise_failure()
        await load.finish()
        await scene.settle()

        assert not any(map(partial(has_logged, event="store.session_lost"), scene.servers))
        assert await scene.stop_and_check() == []
