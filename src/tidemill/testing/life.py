"""One life of the process under a harness: the store and every stage, from the opening of the database to its end.

A harness that was killed or stopped begins another one on the same database.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from tidemill import ids
from tidemill.engine.engine import Engine
from tidemill.executors.claimed import ClaimedExecutor
from tidemill.executors.loop import LoopExecutor
from tidemill.executors.remote.claims import LARGEST, Claims
from tidemill.executors.thread import ThreadExecutor
from tidemill.project.model import Project
from tidemill.routing.router import Router
from tidemill.runs.attempts import Attempt, Executor
from tidemill.settings import Settings
from tidemill.sinks.dispatcher import Dispatcher
from tidemill.telemetry.metrics import Metrics
from tidemill.testing.arrivals import Arrivals
from tidemill.testing.by_kind import ByKind
from tidemill.testing.clock import ManualClock
from tidemill.testing.databases import OwnStore
from tidemill.testing.receivers import Receiver
from tidemill.testing.seeded import SeededIds, chance_of
from tidemill.testing.stage_clock import StageClock
from tidemill.testing.stubs import Stubs
from tidemill.testing.watched import WatchedExecutor

__all__ = ["Life"]


class Life:
    """The stages of a harness, which runs them and asks whether they rest."""

    def __init__(
        self,
        project: Project,
        store: OwnStore,
        *,
        clock: ManualClock,
        settings: Settings,
        seed: int,
        ids: SeededIds,
        stubs: Stubs,
        receivers: Mapping[str, Receiver],
        folder: Path,
        begins: Callable[[Attempt], bool],
        is_led: Callable[[], bool],
        look_again_seconds: float,
    ) -> None:
        self.project = project
        self.store = store
        self.settings = settings
        self._ids = ids
        self._seed = seed
        #: Set whenever an attempt has ended.
        self.moved = asyncio.Event()
        self.engine_clock, self._router_clock = StageClock(clock), StageClock(clock)
        claims = None if settings.claim_check_url is None else Claims(settings.claim_check_url)
        size = settings.max_result_bytes if claims is None else LARGEST
        above = min(settings.claim_result_bytes, settings.max_result_bytes)
        inner: dict[str, Executor] = {
            "loop": LoopExecutor(max_result_bytes=size, clock=clock),
            "thread": ThreadExecutor(workers=settings.thread_workers, max_result_bytes=size, clock=clock),
        }
        self.attempts = {
            name: WatchedExecutor(
                ClaimedExecutor(one, claims, above=above, max_result_bytes=settings.max_result_bytes),
                stubs=stubs,
                begins=begins,
                holds=name == "thread",
                moved=self.moved,
                is_led=is_led,
            )
            for name, one in inner.items()
        }
        by_kind = ByKind(loop=self.attempts["loop"], thread=self.attempts["thread"])
        # What would run in a process of its own or on a cluster runs here, too.
        self.executors: dict[str, Executor] = {
            **self.attempts,
            **dict.fromkeys(("process", "ray", "dask"), by_kind),
        }
        self.engine = Engine(
            store,
            project.dags,
            self.executors,
            clock=self.engine_clock,
            settings=settings,
            metrics=Metrics(),
            random_source=chance_of(seed, "engine"),
            root=project.root,
        )
        self.router = Router(
            store,
            project,
            clock=self._router_clock,
            max_hops=settings.max_hops,
            max_held=settings.max_held_events,
        )
        self.arrivals = Arrivals(project, store, folder, clock=clock, settings=settings)
        self.dispatcher = Dispatcher(
            project.subscriptions,
            {
                one.name: receivers[one.name].sink(one, project, settings, clock=clock)
                for one in project.subscriptions
            },
            log=store.log,
            letters=store.dead_letters,
            attempts=store.subscriptions,
            outbox=store.outbox,
            clock=clock,
            concurrency=settings.delivery_concurrency,
            drain_seconds=0.0,
            chance=chance_of(seed, "deliveries").random,
            look_again_seconds=look_again_seconds,
        )
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def recover(self) -> None:
        """Read back what was live; call before `begin`."""
        await self.engine.recover()

    def begin(self, *, with_sources: bool) -> None:
        """Run every stage."""
        with ids.made_by(self._ids.next):
            self._spawn("engine", self.engine.run())
            self._spawn("router", self.router.run())
            if self.project.subscriptions:
                self._spawn("sinks", self.dispatcher.run())
            for source in self.arrivals.sources if with_sources else ():
                self._spawn(f"source {source.name}", source.run())

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks[name] = asyncio.get_running_loop().create_task(work, name=name)

    @property
    def is_still(self) -> bool:
        """Whether router and engine have nothing to do; the other stages have nothing to wait for but the loop."""
        router_rests = self.router.is_idle or self._router_clock.sleeping > 0
        return router_rests and self.engine.at_work <= self.engine_clock.sleeping

    @property
    def waits_for_the_store(self) -> bool:
        """Whether router or engine sleep until they try something again that the store did not take."""
        return not self.router.is_idle or self.engine.at_work > 0

    def raise_failures(self) -> None:
        """Raise what made a stage end."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled():
                task.result()

    # ── attempts ──

    def deliver_outcomes(self) -> bool:
        """Hand on outcomes that are held; False when there are none."""
        return sum(one.deliver() for one in self.attempts.values()) > 0

    @property
    def threads_worth_waiting(self) -> int:
        """Attempts in threads that were not given real time to end yet."""
        return self.attempts["thread"].worth_waiting

    @property
    def attempts_under_way(self) -> int:
        """Attempts that have not ended."""
        return sum(one.under_way for one in self.attempts.values())

    @property
    def attempts_worth_waiting(self) -> int:
        """Those of them that were not given real time to end yet."""
        return sum(one.worth_waiting for one in self.attempts.values())

    def outlast_attempts(self) -> None:
        """Attempts under way were given real time, and have not ended."""
        for one in self.attempts.values():
            one.outlast()

    # ── the end ──

    def cancel(self, *names: str) -> None:
        """Stages whose names begin so begin to end."""
        for name, task in self._tasks.items():
            if name.startswith(names):
                task.cancel()

    async def end(self) -> None:
        """End every stage; return when they have ended."""
        self.cancel("")
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def close_executors(self) -> None:
        """Cut off the attempts that run."""
        for executor in self.executors.values():
            await executor.close()

    @contextlib.contextmanager
    def as_stage(self) -> Iterator[None]:
        """What is done inside makes the ids that a stage would make."""
        with ids.made_by(self._ids.next):
            yield
