"""What tasks do when they are called: drawn by run, task and attempt, so that a restart changes nothing."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import orjson

from tidemill.clock import Clock
from tidemill.dag.context import Context
from tidemill.errors import DoNotRetry, RetryAfter, Skip
from tidemill.testing.simulation.chance import Chance
from tidemill.testing.simulation.disk import Disk
from tidemill.testing.simulation.observed import Execution, Observed
from tidemill.testing.simulation.process import current_process
from tidemill.testing.simulation.scenario import Scenario, task_of

__all__ = ["Acts"]


class Acts:
    """The functions of all tasks."""

    def __init__(
        self, chance: Chance, scenario: Scenario, observed: Observed, *, disk: Disk, clock: Clock
    ) -> None:
        self.observed = observed
        self.loop = disk.loop
        self.clock = clock
        self.disk = disk
        self._chance, self._scenario = chance, scenario

    def _call(self, context: Context, given: list[Any]) -> tuple[Execution, Any]:
        process = current_process(contextvars.copy_context())
        assert process is not None  # noqa: S101 - tasks run in processes
        call = Execution(
            context.run_id, context.task_id, context.attempt, process.number, self.loop.now_us, list(given)
        )
        if process.is_dead:
            return call, self._chance.stream("nobody")
        call.wrong = self._wrong(call)
        self.observed.executions.append(call)
        self.loop.note(f"call {call.run_id} {call.task} {call.attempt}\n")
        return call, self._chance.stream("task", call.run_id, call.task, call.attempt)

    def _wrong(self, call: Execution) -> str:
        """What the disk says against this call."""
        query = "SELECT body FROM history JOIN runs ON run = number WHERE run_id = ? ORDER BY sequence"
        records = [record for (body,) in self.disk.rows(query, call.run_id) for record in orjson.loads(body)]
        mine = [record for record in records if len(record) > 1 and record[1] == call.task]
        if ["task_started", call.task, call.attempt] not in mine:
            return "its start is not on the disk"
        if any(record[0] == "task_succeeded" for record in mine):
            return "a success is on the disk"
        return ""

    async def act(self, context: Context, given: list[Any]) -> Any:
        call, draw = self._call(context, given)
        process = current_process(contextvars.copy_context())
        try:
            seconds = draw.choice((0.0, 0.0, 0.01, 0.3, 4.0, 60.0))
            if seconds:
                await self.clock.sleep(seconds * draw.random())
            value = self._end(call, draw, context)
        except asyncio.CancelledError:
            call.outcome = "cancelled"
            if draw.random() < 0.2 and process is not None and not process.is_dead:
                await self.clock.sleep(draw.random())  # it tidies up first
            raise
        except BaseException:
            call.outcome = "raised"
            raise
        finally:
            if process is not None and not process.is_dead:
                call.ended_us = self.loop.now_us
        return value

    def act_plainly(self, context: Context, given: list[Any]) -> Any:
        call, draw = self._call(context, given)
        try:
            return self._end(call, draw, context)
        except BaseException:
            call.outcome = "raised"
            raise
        finally:
            call.ended_us = self.loop.now_us

    def _end(self, call: Execution, draw: Any, context: Context) -> Any:
        fate = draw.random()
        tasks = self._scenario.dag(context.dag_id).tasks
        spec = next(task for task in tasks if task.name == task_of(context.task_id))
        if spec.skips and draw.random() < 0.3:
            raise Skip("drawn")
        if fate < 0.14:
            raise RuntimeError("drawn")
        if fate < 0.16:
            raise RetryAfter(draw.uniform(0, 8), "drawn")
        if fate < 0.18:
            raise DoNotRetry("drawn")
        if fate < 0.19:
            raise asyncio.CancelledError
        value = draw.randrange(1000)
        call.outcome = "returned"
        if spec.branches:
            below = [task.name for task in tasks if spec.name in task.upstream]
            call.value = [name for name in below if draw.random() < 0.6]
            return call.value
        call.value = value if spec.size is None else [value + place for place in range(spec.size)]
        return call.value
