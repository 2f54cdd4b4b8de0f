"""What a process decides for shards that it has lost is recorded nowhere, and counted."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.engine.checks import check_store
from tests.unit.engine.ownership import Ownership

from tidemill import Context, dag, task
from tidemill.storage.shards import ALL
from tidemill.testing.harness import Harness, MakeHarness


class Gates:
    """A DAG whose runs each wait at a gate of their own."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}

        @task
        async def wait(context: Context) -> None:
            await self.gates.setdefault(context.run_id, asyncio.Event()).wait()

        @dag(max_active_runs=None)
        def work() -> Any:
            return wait()

        self.dag = work

    async def start(self, harness: Harness) -> tuple[str, int]:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        return run_id, (await harness.run(run_id)).summary.shard


async def test_result_that_is_on_its_way_when_the_shard_is_lost_is_refused_and_counted_once(
    tidemill_harness: MakeHarness,
) -> None:
    gates = Gates()

    async with tidemill_harness(dags=[gates.dag]) as harness:
        ownership = Ownership(harness)
        run_id, _ = await gates.start(harness)
        before = await harness.store.runs.history(run_id)
        ownership.hold_up()
        gates.gates[run_id].set()
        await ownership.waiting.wait()
        ownership.lose(*ALL)
        ownership.way.set()
        await harness.run_until_idle()

        assert await harness.store.runs.history(run_id) == before
        assert ownership.refused + harness.store.shards.refused == 1
        await check_store(harness)


async def test_result_that_waits_behind_another_when_the_shard_is_lost_is_counted(
    tidemill_harness: MakeHarness,
) -> None:
    gates = Gates()

    async with tidemill_harness(dags=[gates.dag]) as harness:
        ownership = Ownership(harness)
        first, _ = await gates.start(harness)
        behind, _ = await gates.start(harness)
        ownership.hold_up()
        gates.gates[first].set()
        await ownership.waiting.wait()
        gates.gates[behind].set()
        for _ in range(20):  # until it has been decided on
            await asyncio.sleep(0)
        ownership.lose(*ALL)
        ownership.way.set()
        await harness.run_until_idle()

        assert harness.store.shards.refused + ownership.refused == 2
        assert [(await harness.run(run_id)).state for run_id in (first, behind)] == ["running", "running"]
        await check_store(harness)


async def test_attempts_that_are_cut_off_with_their_shard_are_no_late_writes(
    tidemill_harness: MakeHarness,
) -> None:
    gates = Gates()

    async with tidemill_harness(dags=[gates.dag]) as harness:
        ownership = Ownership(harness)
        await gates.start(harness)
        ownership.lose(*ALL)
        await harness.run_until_idle()

        assert harness.store.shards.refused == 0
        await check_store(harness)
