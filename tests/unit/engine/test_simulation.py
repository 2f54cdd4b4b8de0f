"""Lives drawn by seed: any DAGs, tasks that fail and hang by chance, cancelled runs, failing disks, deaths anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import Any

import pytest
from tests.unit.engine.checks import check_store

from tidemill import Context, dag, task
from tidemill.dag.declaration import DagDefinition
from tidemill.errors import StoreUnavailable
from tidemill.runs.records import TaskSucceeded
from tidemill.testing.faults import FailCommits, LoseAnswers
from tidemill.testing.harness import Harness, HarnessError, MakeHarness


class World:
    """What chance decides, and what was seen of it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        #: Attempts that returned, per run and task: the recorded ones must be among them.
        self.returned: Counter[str] = Counter()
        self.begun: dict[str, list[int]] = {}
        self.calm = False

    def make_dag(self, name: str) -> DagDefinition:
        """A DAG of up to six tasks, each waiting for some of those before it."""
        shape = [
            (
                self.chance.sample(range(place), self.chance.randint(0, min(place, 2))),
                self.chance.random() < 0.3,
            )
            for place in range(self.chance.randint(1, 6))
        ]

        async def attempt(context: Context) -> int:
            self.begin(context)
            fate = self.chance.random()
            if fate < 0.15 and not self.calm:
                await asyncio.Event().wait()
            if fate < 0.35 and not self.calm:
                raise ValueError("by chance")
            self.returned[context.idempotency_key] += 1
            return context.attempt

        def plain(context: Context) -> int:
            self.begin(context)
            self.returned[context.idempotency_key] += 1
            return context.attempt

        in_loop = task(retries=3, retry_delay=7, timeout=20)(attempt)
        in_thread = task(retries=3)(plain)

        @dag(
            dag_id=name,
            max_active_runs=self.chance.randint(1, 4),
            max_active_tasks=self.chance.choice([None, 1, 2]),
        )
        def work() -> Any:
            made: list[Any] = []
            for place, (above, threaded) in enumerate(shape):
                kind = in_thread if threaded else in_loop
                made.append(kind.override(task_id=f"t{place}", depends_on=[made[one] for one in above])())
            return made[-1]

        return work

    def begin(self, context: Context) -> None:
        self.begun.setdefault(context.idempotency_key, []).append(context.attempt)


async def act(harness: Harness, world: World) -> None:
    """One thing that happens in a life."""
    chance = world.chance
    with contextlib.suppress(StoreUnavailable, HarnessError):  # nobody answered: as if it had not been asked
        match chance.choice(
            ["start", "start", "start", "cancel", "pass", "pass", "fail", "lose", "crash", "kill", "stop"]
        ):
            case "start":
                await harness.start(chance.choice(["one", "two"]))
            case "cancel":
                runs = await harness.runs()
                if runs:
                    await harness.cancel(chance.choice(runs).run_id)
            case "pass":
                await harness.advance(chance.choice([0, 1, 10, 30]))
            case "fail":
                kind = chance.choice(["record", "route", "statement"])
                harness.faults.append(
                    FailCommits(f"{kind}.before_commit", chance.randint(1, 3), skip=chance.randint(0, 3))
                )
            case "lose":
                harness.faults.append(
                    LoseAnswers(chance.choice(["record", "route"]), skip=chance.randint(0, 3))
                )
            case "crash":
                kind, side = chance.choice(["record", "route", "append"]), chance.choice(["before", "after"])
                harness.crash_at(f"{kind}.{side}_commit", chance.randint(1, 4))
            case "kill":
                await harness.kill()
            case "stop":
                await harness.stop(drain_seconds=0.005)
    if not harness.is_running:
        await harness.restart()


@pytest.mark.parametrize("seed", range(25))
async def test_any_life_ends_with_every_run_ended_once(seed: int, tidemill_harness: MakeHarness) -> None:
    world = World(seed)
    dags = [world.make_dag("one"), world.make_dag("two")]

    async with tidemill_harness(dags=dags, seed=seed, max_recoveries=1000, max_running_tasks=4) as harness:
        for _ in range(30):
            await act(harness, world)
        world.calm = True
        await harness.restart()
        await harness.run_until_done()

        runs = await harness.runs()
        await check_store(harness, ended=len(runs))
        for summary in runs:
            run = await harness.run(summary.run_id)
            for record in run.records:
                if isinstance(record, TaskSucceeded):
                    key = f"{run.summary.run_id}/{record.task}"
                    assert world.returned[key] >= 1
                    assert max(world.begun[key]) == record.attempt, (
                        "an attempt began after the task had succeeded"
                    )
        for attempts in world.begun.values():
            assert attempts == sorted(set(attempts)), "attempt numbers rise"
