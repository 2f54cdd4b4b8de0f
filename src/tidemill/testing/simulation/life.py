"""One life of the service: the stages as the composition root wires them, on a simulated disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from tidemill.engine.engine import Engine
from tidemill.executors.loop import LoopExecutor
from tidemill.project.model import Project
from tidemill.routing.router import Router
from tidemill.runs.attempts import Executor
from tidemill.settings import Settings
from tidemill.sinks.dispatcher import Dispatcher
from tidemill.sources.http import HttpIngest
from tidemill.sources.schedule.sources import ScheduleSourceStage
from tidemill.storage.contract import Store
from tidemill.telemetry.metrics import Metrics
from tidemill.testing.simulation.chance import Chance
from tidemill.testing.simulation.clock import SimulatedClock
from tidemill.testing.simulation.executor import SimulatedThreads
from tidemill.testing.simulation.process import Process

__all__ = ["Life"]

#: What `Life` is given to start a source or make a sink.
MakeSources = Callable[[Store], Mapping[str, Coroutine[Any, Any, None]]]
MakeSinks = Callable[[int], Mapping[str, Any]]

_DRAIN_SECONDS = 10.0
_LET_GO_SECONDS = 5.0


class Life:
    """Everything of one process; made, started and stopped in its context."""

    def __init__(
        self,
        process: Process,
        store: Store,
        project: Project,
        settings: Settings,
        *,
        chance: Chance,
        clock: SimulatedClock,
        make_sources: MakeSources,
        make_sinks: MakeSinks,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self.process = process
        self.store = store
        #: True once requests are answered.
        self.is_ready = False
        self._project, self._settings = project, settings
        self._chance, self._clock = chance, clock
        self._make_sources, self._make_sinks = make_sources, make_sinks
        self._failed = failed
        self._stages: dict[str, asyncio.Task[None]] = {}

    @property
    def engine(self) -> Engine:
        """The engine."""
        return self._engine

    async def start(self) -> None:
        """Return when every stage runs."""
        settings, clock, store, project = self._settings, self._clock, self.store, self._project
        number, size = self.process.number, settings.max_result_bytes
        draw = self._chance.stream("threads", number)
        self._executors: dict[str, Executor] = {
            "loop": LoopExecutor(max_result_bytes=size, clock=clock),
            "thread": SimulatedThreads(draw, max_result_bytes=size, clock=clock),
        }
        self._engine = Engine(
            store,
            project.dags,
            self._executors,
            clock=clock,
            settings=settings,
            metrics=Metrics(),
            random_source=self._chance.stream("retries", number),
            root=project.root,
        )
        router = Router(
            store, project, clock=clock, max_hops=settings.max_hops, max_held=settings.max_held_events
        )
        self.ingest = HttpIngest(store.log, clock=clock, settings=settings, project=lambda: project)
        await self._engine.recover()
        self._spawn("engine", self._engine.run())
        self._spawn("router", router.run())
        sinks = self._make_sinks(number)
        for subscription in project.subscriptions:
            dispatcher = Dispatcher(
                [subscription],
                sinks,
                log=store.log,
                letters=store.dead_letters,
                attempts=store.subscriptions,
                outbox=store.outbox,
                clock=clock,
                concurrency=settings.delivery_concurrency,
                chance=self._chance.stream("deliveries", subscription.name, number).random,
            )
            self._spawn(f"sink {subscription.name}", dispatcher.run())
        ticks = ScheduleSourceStage(list(project.dags.values()), store.log, store.ledger, clock=clock)
        self._spawn("source schedule", ticks.run())
        for name, source in self._make_sources(store).items():
            self._spawn(f"source {name}", source)
        self.is_ready = True

    async def end_sources(self) -> None:
        """Take nothing more in by itself; requests are still answered."""
        await self._end("source ")

    async def stop(self) -> None:
        """As after SIGTERM: sources, router, engine (drained), sinks, store."""
        self.is_ready = False
        await self._end("source ")
        await self._end("router")
        await self._give(_DRAIN_SECONDS, self._engine.drain())
        for executor in self._executors.values():
            await executor.close()
        await self._give(_LET_GO_SECONDS, self._engine.let_go())
        await self._end("engine")
        await self._end("sink ")
        await self.store.close()

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._stages[name] = task
        task.add_done_callback(lambda task: self._ended(name, task))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(name, error)

    async def _end(self, prefix: str) -> None:
        tasks = [task for name, task in self._stages.items() if name.startswith(prefix)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _give(self, seconds: float, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        await asyncio.wait([task], timeout=seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
