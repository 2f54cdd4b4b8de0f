"""Several nodes on one PostgreSQL database, killed, frozen, stopped, cut off: nothing lost, doubled or done again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from tests.acceptance.fleet import (
    ANSWER_SECONDS,
    acknowledged,
    begin_runs,
    cancel_jobs,
    has_logged,
    runs_of,
    start,
    wait_for_next_attempts,
    wait_for_records,
    wait_for_shares,
)
from tests.acceptance.notes import now_us, wait_until
from tests.acceptance.scene import staged

from tidemill.testing.postgres import PostgresServer

pytestmark = [pytest.mark.acceptance, pytest.mark.postgres, pytest.mark.timeout(180)]


async def test_two_nodes_keep_the_promises_when_either_is_killed_at_random(
    tmp_path: Path, postgres_url: str
) -> None:
    lives = random.Random(11)
    async with staged(tmp_path, postgres=postgres_url, nodes=2) as scene:
        load = scene.send(seed=11)
        await start(*scene.servers)

        for _ in range(8):
            await asyncio.sleep(lives.uniform(0.3, 2.0))
            load.raise_failure()
            killed = lives.choice(scene.servers)
            killed.kill()
            # By turns at once, and when the other one has taken over.
            await asyncio.sleep(lives.choice((0.0, 1.5)))
            await killed.start()
        await load.finish()
        await scene.settle()

        assert await scene.stop_and_check() == []
        assert acknowledged(scene) > 200


async def test_node_that_was_frozen_finds_its_work_taken_and_harms_nothing(
    tmp_path: Path, postgres_url: str
) -> None:
    settings = {"TIDEMILL_NODE_TIMEOUT_SECONDS": "2"}
    async with staged(
        tmp_path, postgres=postgres_url, nodes=3, settings=settings, answer_seconds=ANSWER_SECONDS
    ) as scene:
        load = scene.send(seed=5)
        await start(*scene.servers)
        await wait_for_shares(scene, "node-1", "node-2", "node-3")

        for frozen in (scene.servers[1], scene.servers[0]):
            await asyncio.sleep(1.0)
            load.raise_failure()
            before = acknowledged(scene)
            await scene.freeze(frozen, 4.5)
            while_frozen = acknowledged(scene)
            await wait_for_shares(scene, "node-1", "node-2", "node-3")
            await wait_until(partial(has_logged, frozen, "store.session_lost"), seconds=10)
            assert while_frozen > before + 10
        await load.finish()
        await scene.settle()

        assert await scene.stop_and_check() == []


async def test_fleet_outlives_restarts_and_crashes_of_its_database(
    tmp_path: Path, postgres_url: str, postgres_server: PostgresServer
) -> None:
    async with staged(tmp_path, postgres=postgres_url, nodes=2) as scene:
        load = scene.send(seed=3)
        await start(*scene.servers)
        await wait_for_shares(scene, "node-1", "node-2")

        for end in (postgres_server.stop, postgres_server.kill) * 3:
            before = acknowledged(scene)
            await wait_until(lambda: acknowledged(scene) > before + 40)  # noqa: B023 - awaited here
            await asyncio.sleep(1.0)
            load.raise_failure()
            await asyncio.to_thread(end)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(postgres_server.start)
        await load.finish()
        await scene.settle()

        assert all(server.is_running for server in scene.servers)
        assert await scene.stop_and_check() == []


async def test_shards_of_a_node_that_stops_are_the_others_at_once(tmp_path: Path, postgres_url: str) -> None:
    settings = {"TIDEMILL_DRAIN_SECONDS": "1"}
    async with staged(tmp_path, postgres=postgres_url, nodes=2, settings=settings, keep_alive=False) as scene:
        load = scene.send(seed=2)
        await start(*scene.servers)

        for stopped, other in (scene.servers, scene.servers[::-1]):
            await wait_for_shares(scene, "node-1", "node-2")
            jobs = runs_of(scene, await begin_runs(scene, "job", stopped.node), stopped)
            stopped.terminate()
            assert await stopped.wait(20.0) == 0, stopped.log_tail()
            ended_at = now_us()
            await wait_for_shares(scene, other.node)
            await wait_for_next_attempts(scene, jobs, [other])
            assert now_us() - ended_at < 1_000_000
            load.raise_failure()
            await stopped.start()
        await load.finish()
        await cancel_jobs(scene)
        await scene.settle()

        assert scene.client.cut == []
        assert await scene.stop_and_check() == []


async def test_runs_of_a_killed_node_go_on_within_seconds(tmp_path: Path, postgres_url: str) -> None:
    async with staged(tmp_path, postgres=postgres_url, nodes=2) as scene:
        await start(*scene.servers)
        load = scene.send(modes=("structured",), files=False, jobs=False)

        for killed, other in (scene.servers, scene.servers[::-1]):
            await wait_for_shares(scene, "node-1", "node-2")
            jobs = runs_of(scene, await begin_runs(scene, "job", killed.node), killed)
            killed.kill()
            killed_at = now_us()
            await wait_for_next_attempts(scene, jobs, [other])
            assert now_us() - killed_at < 5_000_000
            await killed.start()
        await load.finish()
        await cancel_jobs(scene)
        await scene.settle()

        assert await scene.stop_and_check() == []


@pytest.mark.kafka
async def test_records_are_neither_lost_nor_doubled_while_nodes_join_and_leave_their_group(
    tmp_path: Path, postgres_url: str, kafka: str, make_topic: Callable[[], Awaitable[str]]
) -> None:
    async with staged(tmp_path, postgres=postgres_url, nodes=2, kafka=(kafka, await make_topic())) as scene:
        load = scene.send(modes=("structured",), files=False, jobs=False, pause=0.01)
        await start(*scene.servers)
        one, two = scene.servers

        for leaving, how in ((one, "stop"), (two, "kill"), (one, "stop")):
            await wait_for_records(scene, 60)
            load.raise_failure()
            if how == "stop":
                leaving.terminate()
                assert await leaving.wait(20.0) == 0, leaving.log_tail()
            else:
                leaving.kill()
            await asyncio.sleep(0.5)
            await leaving.start()
        await wait_for_records(scene, 60)
        await load.finish()
        await scene.settle()

        assert await scene.stop_and_check() == []
