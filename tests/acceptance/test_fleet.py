"""Several nodes on one PostgreSQL database, killed, frozen, stopped, cut off: nothing lost, doubled or done again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from tests.acceptance.evidence import Line, read_lines
from tests.acceptance.notes import now_us, wait_until
from tests.acceptance.scene import Scene, staged
from tests.acceptance.server import ServerProcess

from tidemill.testing.postgres import PostgresServer

pytestmark = [pytest.mark.acceptance, pytest.mark.postgres, pytest.mark.timeout(180)]

_SHARDS = 256
#: A request that a node does not answer goes to the next one after this time.
_ANSWER_SECONDS = 2.0
_JOBS = 12


async def _start(*servers: ServerProcess) -> None:
    await asyncio.gather(*(server.start() for server in servers))


async def _shards(scene: Scene) -> dict[str, int]:
    """Shards by node, as the nodes that live see it."""
    answer = await scene.client.ask("GET", "/api/v1/nodes")
    assert answer.status_code == 200, answer.text
    return {node["name"]: node["shards"] for node in answer.json()["items"]}


async def _wait_for_shares(scene: Scene, *nodes: str) -> None:
    """Return when these nodes, and no others, own all shards in equal parts."""
    async with asyncio.timeout(30):
        while True:
            owned = await _shards(scene)
            sizes = owned.values()
            if set(owned) == set(nodes) and sum(sizes) == _SHARDS and max(sizes) - min(sizes) <= 1:
                return
            await asyncio.sleep(0.05)


def _acknowledged(scene: Scene) -> int:
    return sum(line["what"] == "ack" for line in read_lines(scene.folder / "sent.jsonl"))


async def test_two_nodes_keep_the_promises_when_either_is_killed_at_random(
    tmp_path: Path, postgres_url: str
) -> None:
    lives = random.Random(11)
    async with staged(tmp_path, postgres=postgres_url, nodes=2) as scene:
        load = scene.send(seed=11)
        await _start(*scene.servers)

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
        assert _acknowledged(scene) > 200


async def test_node_that_was_frozen_finds_its_work_taken_and_harms_nothing(
    tmp_path: Path, postgres_url: str
) -> None:
    settings = {"TIDEMILL_NODE_TIMEOUT_SECONDS": "2"}
    async with staged(
        tmp_path, postgres=postgres_url, nodes=3, settings=settings, answer_seconds=_ANSWER_SECONDS
    ) as scene:
        load = scene.send(seed=5)
        await _start(*scene.servers)
        await _wait_for_shares(scene, "node-1", "node-2", "node-3")

        for frozen in (scene.servers[1], scene.servers[0]):
            await asyncio.sleep(1.0)
            load.raise_failure()
            before = _acknowledged(scene)
            await scene.freeze(frozen, 4.5)
            while_frozen = _acknowledged(scene)
            await _wait_for_shares(scene, "node-1", "node-2", "node-3")
            await wait_until(partial(_has_logged, frozen, "store.session_lost"), seconds=10)
            assert while_frozen > before + 10
        await load.finish()
        await scene.settle()

        assert await scene.stop_and_check() == []


def _has_logged(server: ServerProcess, event: str) -> bool:
    return event in server.log()


async def test_fleet_outlives_restarts_and_crashes_of_its_database(
    tmp_path: Path, postgres_url: str, postgres_server: PostgresServer
) -> None:
    async with staged(tmp_path, postgres=postgres_url, nodes=2) as scene:
        load = scene.send(seed=3)
        await _start(*scene.servers)
        await _wait_for_shares(scene, "node-1", "node-2")

        for end in (postgres_server.stop, postgres_server.kill) * 3:
            before = _acknowledged(scene)
            await wait_until(lambda: _acknowledged(scene) > before + 40)  # noqa: B023 - awaited here
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
        await _start(*scene.servers)

        for stopped, other in (scene.servers, scene.servers[::-1]):
            await _wait_for_shares(scene, "node-1", "node-2")
            jobs = await _jobs_of(scene, stopped)
            stopped.terminate()
            assert await stopped.wait(20.0) == 0, stopped.log_tail()
            ended_at = now_us()
            await _wait_for_shares(scene, other.node)
            await _wait_for_next_attempts(scene, jobs, other)
            assert now_us() - ended_at < 1_000_000
            load.raise_failure()
            await stopped.start()
        await load.finish()
        await _cancel_jobs(scene)
        await scene.settle()

        assert scene.client.cut == []
        assert await scene.stop_and_check() == []


async def test_runs_of_a_killed_node_go_on_within_seconds(tmp_path: Path, postgres_url: str) -> None:
    async with staged(tmp_path, postgres=postgres_url, nodes=2) as scene:
        await _start(*scene.servers)
        load = scene.send(modes=("structured",), files=False, jobs=False)

        for killed, other in (scene.servers, scene.servers[::-1]):
            await _wait_for_shares(scene, "node-1", "node-2")
            jobs = await _jobs_of(scene, killed)
            killed.kill()
            killed_at = now_us()
            await _wait_for_next_attempts(scene, jobs, other)
            assert now_us() - killed_at < 5_000_000
            await killed.start()
        await load.finish()
        await _cancel_jobs(scene)
        await scene.settle()

        assert await scene.stop_and_check() == []


async def _jobs_of(scene: Scene, node: ServerProcess) -> set[str]:
    """Begin jobs that nobody cancels, on every node; the runs that `node` works on."""
    positions = [await scene.post("com.example.job", f"long-{node.node}-{number}") for number in range(_JOBS)]
    runs = {await scene.run_at(position) for position in positions}
    await wait_until(lambda: runs <= {line["run"] for line in _executions(scene)})
    ours = {line["run"] for line in _executions(scene) if line["run"] in runs and line["pid"] == node.pid}
    assert ours, "no job runs there"
    return ours


async def _wait_for_next_attempts(scene: Scene, runs: set[str], node: ServerProcess) -> None:
    """Return when `node` has begun all of these runs again."""
    await wait_until(
        lambda: runs <= {line["run"] for line in _executions(scene) if line["pid"] == node.pid}, seconds=20
    )


def _executions(scene: Scene) -> list[Line]:
    return read_lines(scene.folder / "effects.jsonl")


async def _cancel_jobs(scene: Scene) -> None:
    """Cancel every job that still runs."""
    answer = await scene.client.ask(
        "GET", "/api/v1/runs", params={"dag": "jobs", "state": "running", "limit": 200}
    )
    for run in answer.json()["items"]:
        await scene.cancel(run["id"])


@pytest.mark.kafka
async def test_records_are_neither_lost_nor_doubled_while_nodes_join_and_leave_their_group(
    tmp_path: Path, postgres_url: str, kafka: str, make_topic: Callable[[], Awaitable[str]]
) -> None:
    async with staged(tmp_path, postgres=postgres_url, nodes=2, kafka=(kafka, await make_topic())) as scene:
        load = scene.send(modes=("structured",), files=False, jobs=False, pause=0.01)
        await _start(*scene.servers)
        one, two = scene.servers

        for leaving, how in ((one, "stop"), (two, "kill"), (one, "stop")):
            await _wait_for_records(scene, 60)
            load.raise_failure()
            if how == "stop":
                leaving.terminate()
                assert await leaving.wait(20.0) == 0, leaving.log_tail()
            else:
                leaving.kill()
            await asyncio.sleep(0.5)
            await leaving.start()
        await _wait_for_records(scene, 60)
        await load.finish()
        await scene.settle()

        assert await scene.stop_and_check() == []


async def _wait_for_records(scene: Scene, count: int) -> None:
    """Return when so many more records are in the log."""
    query = "SELECT count(*) FROM events WHERE source LIKE '/kafka/%' OR source = '/acceptance/kafka'"
    (before,) = await scene.state.row(query)
    async with asyncio.timeout(30):
        while True:
            (now,) = await scene.state.row(query)
            if now >= before + count:
                return
            await asyncio.sleep(0.1)
