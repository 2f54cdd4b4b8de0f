"""Nodes that are gone together, gone for a minute and back again, or killed by what they run: the fleet goes on."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.fleet import (
    ANSWER_SECONDS,
    acknowledged,
    begin_runs,
    cancel_jobs,
    executions,
    has_logged,
    refused_records,
    runs_of,
    start,
    wait_for_next_attempts,
    wait_for_shares,
)
from tests.acceptance.notes import now_us, wait_until
from tests.acceptance.scene import Load, Scene, staged
from tests.acceptance.server import DEATHS, ServerProcess

pytestmark = [pytest.mark.acceptance, pytest.mark.postgres, pytest.mark.timeout(180)]

_MINUTE = 60.0
#: Promise P9; six seconds on a machine that has nothing else to do.
_TAKE_OVER_SECONDS = 30
_MAX_RECOVERIES = 2


def naps_of(scene: Scene, node: ServerProcess) -> list[Any]:
    """What a node has begun of the tasks that take a nap."""
    return [line for line in executions(scene) if line["pid"] == node.pid and line["task"] == "rest"]


@pytest.mark.kafka
async def test_node_that_was_frozen_for_a_minute_finds_its_late_writes_refused(
    tmp_path: Path, postgres_url: str, kafka: str, make_topic: Callable[[], Awaitable[str]]
) -> None:
    async with staged(
        tmp_path,
        postgres=postgres_url,
        nodes=3,
        kafka=(kafka, await make_topic()),
        answer_seconds=ANSWER_SECONDS,
    ) as scene:
        load = scene.send(seed=6, pause=0.2)
        await start(*scene.servers)
        await wait_for_shares(scene, "node-1", "node-2", "node-3")
        frozen, *others = scene.servers
        jobs = runs_of(scene, await begin_runs(scene, "job", "frozen"), frozen)
        begun, refused = acknowledged(scene), await refused_records(frozen)
        # Frozen in the middle of some: those that go on when it does are at their end at once, and too late.
        seen = len(naps_of(scene, frozen))
        await asyncio.gather(*(scene.post("com.example.nap", f"nap-frozen-{n}") for n in range(48)))
        await wait_until(lambda: len(naps_of(scene, frozen)) > seen)

        freezing = asyncio.create_task(scene.freeze(frozen, _MINUTE))
        frozen_at = now_us()
        await wait_for_next_attempts(scene, jobs, others)
        assert now_us() - frozen_at < _TAKE_OVER_SECONDS * 1_000_000
        await wait_for_shares(scene, "node-2", "node-3")
        await freezing
        load.raise_failure()
        assert acknowledged(scene) > begun + 200
        await wait_for_shares(scene, "node-1", "node-2", "node-3")
        await load.finish()
        await cancel_jobs(scene)
        await scene.settle()

        # What came late was refused and counted; where the loss of the shards was noticed first, nothing came at all.
        assert await refused_records(frozen) > refused or has_logged(frozen, "run.dropped")
        assert await scene.stop_and_check() == []


async def test_last_of_three_nodes_takes_everything_over_when_two_are_killed_at_once(
    tmp_path: Path, postgres_url: str
) -> None:
    async with staged(tmp_path, postgres=postgres_url, nodes=3, answer_seconds=ANSWER_SECONDS) as scene:
        load = scene.send(seed=8)
        await start(*scene.servers)

        for number in range(3):
            last, *killed = scene.servers[number:] + scene.servers[:number]
            await wait_for_shares(scene, "node-1", "node-2", "node-3")
            begun = await begin_runs(scene, "job", f"{number}")
            jobs = set.union(*(runs_of(scene, begun, node) for node in killed))
            await asyncio.gather(*(asyncio.to_thread(node.kill) for node in killed))
            killed_at = now_us()
            await wait_for_next_attempts(scene, jobs, [last])
            assert now_us() - killed_at < 5_000_000
            await wait_for_shares(scene, last.node)
            load.raise_failure()
            await start(*killed)
        await load.finish()
        await cancel_jobs(scene)
        await scene.settle()

        assert await scene.stop_and_check() == []


async def test_runs_that_kill_their_nodes_are_parked_and_nothing_else_is(
    tmp_path: Path, postgres_url: str
) -> None:
    settings = {"TIDEMILL_MAX_RECOVERIES": str(_MAX_RECOVERIES)}
    poisons = ("poison-1", "exit-1")
    async with staged(
        tmp_path, postgres=postgres_url, nodes=3, settings=settings, answer_seconds=ANSWER_SECONDS
    ) as scene:
        await start(*scene.servers)
        await wait_for_shares(scene, "node-1", "node-2", "node-3")
        load = scene.send(modes=("structured", "webhook"), seed=9, files=False, jobs=False)
        deaths: list[int] = []
        keepers = [asyncio.create_task(_keep_alive(node, deaths)) for node in scene.servers]

        for name in poisons:
            await scene.post("com.example.poison", name)
        await _wait_for_parked(scene, load, keepers, len(poisons))
        await wait_for_shares(scene, "node-1", "node-2", "node-3")
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await load.finish()
        await scene.settle()

        assert await scene.stop_and_check() == []
        assert acknowledged(scene) > 20
        # Two of them may have shared a node, and a death.
        assert _MAX_RECOVERIES + 1 <= len(deaths) <= len(poisons) * (_MAX_RECOVERIES + 1)
        assert _parked(scene) == Counter(poison=len(poisons))
        tries = Counter(line["run"] for line in executions(scene) if line["task"] == "kill")
        assert max(tries.values()) == _MAX_RECOVERIES + 1


async def _keep_alive(node: ServerProcess, deaths: list[int]) -> None:
    """Start a node again whenever a run has killed it."""
    while True:
        code = await node.wait(600.0)
        assert code in DEATHS, f"{node.node} ended with {code}: {node.log_tail()}"
        deaths.append(code)
        await node.start(may_die=True)


async def _wait_for_parked(scene: Scene, load: Load, keepers: list[asyncio.Task[None]], count: int) -> None:
    """Return when so many poisonous runs have ended."""
    async with asyncio.timeout(90):
        while True:
            (ended,) = await scene.state.row(
                "SELECT count(*) FROM runs WHERE dag = 'poison' AND state = 'failed'"
            )
            if ended == count:
                return
            load.raise_failure()
            for keeper in keepers:
                assert not keeper.done(), keeper.exception()
            await asyncio.sleep(0.1)


def _parked(scene: Scene) -> Counter[str]:
    """Runs that were failed because too many nodes died with them, by DAG."""
    query = (
        "SELECT dag, count(DISTINCT run_id) FROM runs JOIN history ON history.run = runs.number"
        " WHERE instr(CAST(history.body AS TEXT), 'quarantined') GROUP BY dag"
    )
    with closing(sqlite3.connect(scene.database)) as database:
        return Counter(dict(database.execute(query).fetchall()))
