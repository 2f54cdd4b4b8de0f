"""The world around the service: it starts, kills and restarts processes while whoever is outside goes on.

Everything here goes on while processes come and go. What it sees goes into `Observed`, and nothing else does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tidemill.errors import StorageError
from tidemill.events.event import Event
from tidemill.project.model import Project
from tidemill.settings import Settings
from tidemill.storage.contract import Store
from tidemill.testing.simulation.acts import Acts
from tidemill.testing.simulation.chance import Chance
from tidemill.testing.simulation.clock import SimulatedClock
from tidemill.testing.simulation.disk import Disk
from tidemill.testing.simulation.door import Door
from tidemill.testing.simulation.faults import Faults
from tidemill.testing.simulation.feeds import FolderFeed, StreamFeed
from tidemill.testing.simulation.life import Life
from tidemill.testing.simulation.loop import SimulatedLoop
from tidemill.testing.simulation.observed import Answer, Observed
from tidemill.testing.simulation.operator import Operator
from tidemill.testing.simulation.outside import Folder, Stream
from tidemill.testing.simulation.process import Process
from tidemill.testing.simulation.project import project_of
from tidemill.testing.simulation.receivers import SimulatedSink
from tidemill.testing.simulation.scenario import Scenario
from tidemill.testing.simulation.senders import Senders
from tidemill.testing.simulation.store import open_simulated

__all__ = ["World"]

#: Most processes that are killed or stopped.
_LIVES = 10
#: Seconds until a process that was killed is up again, at most; and for a stop, before it is killed.
_DOWN_SECONDS = 5.0
_STOP_SECONDS = 60.0
#: Stages that end by themselves until there is no more to be learned.
_STAGE_ERRORS = 20
#: Seconds after which faults cease.
_STORM_SECONDS = 75.0
#: Seconds until everything must have come to its end, once faults have ceased.
_PATIENCE_SECONDS = 3 * 3600.0
#: Longest time until an event is routed, when nothing is wrong.
_ROUTING_US = 5_000_000


class World:
    """One simulation's surroundings."""

    def __init__(
        self, chance: Chance, scenario: Scenario, faults: Faults, *, loop: SimulatedLoop, folder: Path
    ) -> None:
        self.observed = Observed()
        self.loop, self.faults = loop, faults
        self.clock = SimulatedClock(loop)
        self.disk = Disk(loop, faults)
        self.processes: list[Process] = []
        self._chance, self._scenario = chance, scenario
        self._settings = Settings(**scenario.settings)
        acts = Acts(chance, scenario, self.observed, disk=self.disk, clock=self.clock)
        self._project: Project = project_of(scenario, folder, act=acts.act, act_plainly=acts.act_plainly)
        self._stream, self._folder = Stream(), Folder()
        self._door = Door(loop, self.clock)
        self._senders = Senders(
            chance, faults, self._door, self.observed, stream=self._stream, folder=self._folder
        )
        self._operator = Operator(chance, scenario, self._door, self.observed, disk=self.disk)
        self._is_over = False

    async def run(self) -> None:
        """Everything from the first start to the last stop."""
        sleep = self.clock.sleep
        async with asyncio.TaskGroup() as actors:
            supervisor = actors.create_task(self._supervise())
            if self.faults.weather.jump_seconds:
                actors.create_task(self._operator.set_clock())
            async with asyncio.TaskGroup() as senders:
                for message in self._scenario.messages:
                    senders.create_task(self._senders.tell(message))
                for number, (at, what) in enumerate(self._scenario.orders):
                    senders.create_task(self._operator.order(number, at, what))
                senders.create_task(self._calm_down())
            await sleep(5)
            await self._wait_until_done()
            self._is_over = True
            if self._door.life is not None:
                self._door.life.process.kill()
            supervisor.cancel()

    async def _calm_down(self) -> None:
        await self.clock.sleep(_STORM_SECONDS)
        self.faults.is_over = True
        self.observed.calm_us = self.loop.now_us
        for process in self.processes:
            process.steps_left = None

    async def _wait_until_done(self) -> None:
        """Return when nothing is open any more, or patience ends."""
        # What is due by the wall clock is so much later.
        back = -sum(seconds for _, seconds in self.observed.jumps)
        end = self.loop.now_us + round((_PATIENCE_SECONDS + max(0.0, back)) * 1e6)
        ended: Life | None = None
        pause = 0.5
        while True:
            life, left = self._door.life, self._open()
            if not left and life is ended:
                return
            if self.loop.now_us > end:
                self.observed.stuck += left
                return
            if life is not None and life.is_ready and life is not ended and self._sources_done():
                # What comes by itself must end, else there is always something open.
                ended = life if await self._door.inside(life, life.end_sources) else None
            pause = min(30.0, pause * 1.1)
            await self.clock.sleep(pause)

    def _sources_done(self) -> bool:
        return all(
            self._stream.committed.get(partition, 0) == len(records)
            for partition, records in self._stream.partitions.items()
        ) and all(
            ("folder", path) in {(row[0], row[1]) for row in self.disk.rows("SELECT source, path FROM files")}
            for path in self._folder.files
        )

    def _open(self) -> list[str]:
        rows = self.disk.rows
        found = [
            f"run {run} is {state}"
            for run, state in rows("SELECT run_id, state FROM runs WHERE ended_at IS NULL")
        ]
        found += [f"event {p} is held by {t}" for p, t in rows("SELECT position, trigger FROM held_events")]
        found += [
            f"delivery of {p} to {s} is pending"
            for p, s in rows("SELECT position, subscription FROM deliveries WHERE state = 'pending'")
        ]
        found += [f"request {i} was not answered" for (i,) in rows("SELECT id FROM requests")]
        life = self._door.life
        if life is None or not life.is_ready:
            return [*found, "the service is down"]
        if not self._sources_done():
            found.append("sources have not taken everything")
        ((newest,),) = rows("SELECT coalesce(max(received_at), 0) FROM events")
        if not found and self.clock.now_us() - newest < _ROUTING_US:  # what matches nothing leaves no row
            found.append("the newest event may not be routed")
        return found

    # ── processes ──

    async def _supervise(self) -> None:
        draw = self._chance.stream("supervisor")
        weather = self.faults.weather
        while not self._is_over:
            steps = None
            if weather.steps_to_death and len(self.processes) < _LIVES and not self.faults.is_over:
                steps = round(draw.expovariate(1 / weather.steps_to_death)) + 20
            process = Process(len(self.processes) + 1, steps=steps)
            self.processes.append(process)
            dead = self.loop.create_future()
            process.on_death.append(partial(_settle, dead, None))
            begun = self.loop.now_us
            life = Life(
                process,
                # Opened in its context: its writer is a task of its own.
                process.context.copy().run(open_simulated, self.disk, process, clock=self.clock),
                self._project,
                self._settings,
                chance=self._chance,
                clock=self.clock,
                make_sources=self._make_sources,
                make_sinks=self._make_sinks,
                failed=self._stage_failed,
            )
            self._door.life = life
            self._door.within(process, self._begin(life))
            how = "crash"
            if steps is not None and draw.random() < weather.stops:
                how = await self._stop_sometime(life, dead, draw.uniform(1, 20))
            await dead
            self._door.life = None
            self.observed.lives.append((begun, self.loop.now_us, "end" if self._is_over else how))
            if self._is_over:
                return
            await self.clock.sleep(draw.uniform(0.001, _DOWN_SECONDS))

    async def _begin(self, life: Life) -> None:
        try:
            await life.start()
        except StorageError:
            life.process.kill()  # it ends with the error, and whoever supervises it starts another one
        except Exception as error:
            self._stage_failed("start", error)

    async def _stop_sometime(self, life: Life, dead: asyncio.Future[Any], seconds: float) -> str:
        await asyncio.wait([dead], timeout=seconds)
        if dead.done() or not life.is_ready:
            return "crash"
        life.process.steps_left = None
        stopped = await self._door.inside(life, life.stop, limit=_STOP_SECONDS)
        life.process.kill()
        return "stop" if stopped else "crash"

    def _stage_failed(self, stage: str, error: BaseException) -> None:
        life = self._door.life
        if life is None or life.process.is_dead:
            return
        self.observed.stage_errors.append(f"{stage}: {type(error).__name__}: {error}")
        if len(self.observed.stage_errors) >= _STAGE_ERRORS:
            self.loop.end_because = "stages end again and again"
        life.process.kill()

    def _make_sources(self, store: Store) -> Mapping[str, Coroutine[Any, Any, None]]:
        clock, safe, now_us = self.clock, self._note_safe, lambda: self.loop.now_us
        feeds: dict[str, Coroutine[Any, Any, None]] = {
            f"stream {partition}": StreamFeed(
                self._stream, partition, store, clock=clock, now_us=now_us, safe=safe
            ).run()
            for partition in self._stream.partitions
        }
        return feeds | {"folder": FolderFeed(self._folder, store, clock=clock, safe=safe).run()}

    def _make_sinks(self, process: int) -> Mapping[str, SimulatedSink]:
        return {
            one.name: SimulatedSink(
                one.name,
                process,
                chance=self._chance,
                faults=self.faults,
                clock=self.clock,
                now_us=lambda: self.loop.now_us,
                receipts=self.observed.receipts,
            )
            for one in self._scenario.subscriptions
        }

    def _note_safe(self, event: Event) -> None:
        self.observed.answers.append(Answer(event.source, event.id, self.loop.now_us))


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)
