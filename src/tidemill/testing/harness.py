"""A project in this process, under virtual time: the way to test workflows, and how we test the engine.

    async with Harness(dags=[my_dag]) as harness:
        run_id = await harness.start("my_dag", order={"id": 7})
        await harness.run_until_done()
        run = await harness.run(run_id)
        assert run.state == "succeeded"
        assert run.result("load") == 3

Everything is real (SQLite in a temporary folder or a PostgreSQL database, router, engine, executors) but the
sources, the sinks and the time: nothing that waits for the clock (retries, timeouts) goes on before the test says
`advance`. Tasks that sleep by themselves sleep in real time. So does the database answer: virtual time stands still
until it has.

`kill` and `crash_at` drop what is not on disk, as SIGKILL would, and `restart` opens the same database again.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson

from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import Dag
from tidemill.engine.engine import Engine
from tidemill.errors import NotFound, TidemillError
from tidemill.events import validate
from tidemill.events.event import JSON, Event
from tidemill.events.lifecycle import dag_requested, retry_requested
from tidemill.executors.claimed import ClaimedExecutor
from tidemill.executors.loop import LoopExecutor
from tidemill.executors.thread import ThreadExecutor
from tidemill.ids import new_id, run_id
from tidemill.routing.router import Router
from tidemill.runs.attempts import Executor
from tidemill.runs.view import decode_graph, task_views
from tidemill.settings import Settings
from tidemill.storage.contract import Append, DeadLetter, Disposition, RunFilter, RunSummary
from tidemill.telemetry.metrics import Metrics
from tidemill.testing.by_kind import ByKind
from tidemill.testing.clock import ManualClock
from tidemill.testing.databases import OwnStore, abandon, open_own, settle, wrong_at
from tidemill.testing.faults import CrashAt, Fault
from tidemill.testing.project import make_project
from tidemill.testing.stage_clock import StageClock
from tidemill.testing.views import RunView

__all__ = ["Harness", "HarnessError", "MakeHarness"]

T = TypeVar("T")

#: Longest real time that a test waits for the stages, in seconds.
_PATIENCE = 30.0
#: Longest real time to record what a stop cut off, in seconds: a commit that has failed waits for virtual time.
_LET_GO_SECONDS = 0.5
#: Looks at the stages, one after the other, that must all find them at rest.
_LOOKS = 3
#: The same where attempts are running that may be about to end.
_LOOKS_AT_ATTEMPTS = 12
_LOOK_SECONDS = 0.0005
_ALL = 1_000_000


class HarnessError(TidemillError):
    """The test asks for what cannot come: time must pass first, a task never ends, the harness is stopped."""


class Harness:
    """A project that runs between `async with` and its end.

    Either `dags` (functions decorated with `@dag`, or loaded ones), with `triggers` as the text of a definition
    file, or `root`, the folder of a whole project. `settings` are those of the service
    (`Harness(dags=[...], max_running_tasks=2)`); `seed` decides what chance decides. State is kept in a file that ends
    with the harness, or in the PostgreSQL database at `database_url`, which nobody else may use meanwhile.
    """

    def __init__(
        self,
        *,
        dags: Iterable[DagDefinition | Dag] = (),
        root: Path | None = None,
        triggers: str = "",
        database_url: str | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        self.clock = ManualClock()
        #: Told of every commit point, in order; see `tidemill.testing.faults`. Change it at any time.
        self.faults: list[Fault] = []
        self._dags, self._root, self._triggers = list(dags), root, triggers
        self._database_url = database_url
        self._seed = seed
        self._settings = Settings(**settings)
        self._folder = tempfile.TemporaryDirectory(prefix="tidemill-")
        self._store: OwnStore | None = None
        self._tasks: Sequence[asyncio.Task[None]] = ()
        self._executors: dict[str, Executor] = {}
        self._dead = False
        #: A commit has failed since the store was last asked what is true.
        self._unsettled = False

    async def __aenter__(self) -> Self:
        try:
            await self._begin()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.is_running:
            await self.kill()
        self._folder.cleanup()

    # ── what comes in ──

    async def send(self, event: Event | None = None, /, **attributes: Any) -> int:
        """Append an event, as a source does, and return its position in the log.

        `send(type="com.example.order", data={...})` makes one; `id` and `source` are made where not given.
        """
        if event is None:
            event = validate.create(**{"id": new_id(), "source": "/test", **attributes})
        validate.refuse_reserved(event)
        return await self._append(event)

    async def start(self, dag: str, /, **parameters: JSON) -> str:
        """Ask for a run of `dag` by hand and return its id; the run exists once the harness has run."""
        return await self._ask(
            dag_requested(dag=dag, parameters=parameters, id=new_id(), by="test"), "manual"
        )

    async def retry(self, run: str) -> str:
        """Ask for a run that takes over what `run` has done, and return its id."""
        earlier = await self._summary(run)
        parameters = orjson.loads(earlier.parameters)
        event = retry_requested(dag=earlier.dag, run_id=run, parameters=parameters, id=new_id(), by="test")
        return await self._ask(event, "retry")

    async def cancel(self, run: str) -> None:
        """Ask to cancel a run."""
        await self._unless_crashed(self.store.runs.request(run, "cancel", "test"))

    async def _ask(self, event: Event, trigger: str) -> str:
        logged = await self.store.log.get(await self._append(event))
        assert logged is not None  # noqa: S101 - it was just appended
        return run_id(trigger, event.source, event.id, logged.received_at)

    async def _append(self, event: Event) -> int:
        (answer,) = await self._unless_crashed(self.store.log.append(Append(events=[event])))
        return answer.position

    async def _give(self, seconds: float, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` take up to `seconds` of real time, unless the process crashes before."""
        loop = asyncio.get_running_loop()
        task, end = loop.create_task(work), loop.time() + seconds
        try:
            while not (task.done() or self._crashed or loop.time() >= end):
                await asyncio.wait([task], timeout=_LOOK_SECONDS)
        finally:
            task.cancel()
        if task.done():
            task.result()

    async def _unless_crashed(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns; a crash meanwhile is an error, since nobody would ever answer."""
        task = asyncio.get_running_loop().create_task(work)
        try:
            while not task.done():
                if self._crashed:
                    await self.kill()
                    raise HarnessError("the process crashed before it answered")
                await asyncio.wait([task], timeout=_LOOK_SECONDS)
        finally:
            task.cancel()
        return task.result()

    # ── letting it work ──

    async def run_until_idle(self, *, attempts: bool = True) -> None:
        """Return when nothing is left to do before time passes or somebody acts.

        Waits for running attempts to end, unless `attempts` is False (tasks that wait for the test, or for a
        timeout). Returns at once when the process has crashed (`crash_at`) or does not run. Raises what made a
        stage end.
        """
        looks = 0
        if not self.is_running:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                while looks < (_LOOKS_AT_ATTEMPTS if self._engine.running_tasks else _LOOKS):
                    if self._crashed:
                        await self.kill()
                        return
                    self._raise_failures()
                    # A commit that waits for its next try may hold attempts which have not begun.
                    ends = attempts and self._engine.running_tasks and not self._engine_clock.sleeping
                    still = self._is_still and not ends
                    if still and self._unsettled:
                        self._unsettled = False
                        await settle(self.store)
                        still = False
                    looks = looks + 1 if still else 0
                    await asyncio.sleep(_LOOK_SECONDS if looks != 1 else 0)
        except TimeoutError:
            raise HarnessError(f"still busy after {_PATIENCE:g} s: {self._describe()}") from None

    async def advance(self, seconds: float) -> None:
        """Let time pass, step by step: what becomes due does its work before the next thing becomes due."""
        left = seconds
        await self.run_until_idle(attempts=False)
        while self.is_running and (step := self.clock.next_seconds) is not None and step <= left:
            self.clock.advance(step)
            left -= step
            await self.run_until_idle(attempts=False)
        self.clock.advance(left)
        if self.is_running:
            await self.run_until_idle(attempts=False)

    async def run_until_done(self, *, limit: float = 30 * 86_400) -> None:
        """Let as much time pass as it takes, up to `limit` seconds, until every run has ended."""
        passed = 0.0
        await self.run_until_idle(attempts=False)
        while self.is_running and self._engine.live_runs:
            step = self.clock.next_seconds
            if step is None:
                await self.run_until_idle()
                if self.is_running and self._engine.live_runs and self.clock.next_seconds is None:
                    raise HarnessError(f"runs wait for what time does not bring: {self._describe()}")
                continue
            passed += step
            if passed > limit:
                raise HarnessError(f"runs have not ended in {limit:g} s: {self._describe()}")
            await self.advance(step)

    @property
    def _is_still(self) -> bool:
        router_rests = self._router.is_idle or self._router_clock.sleeping > 0
        return router_rests and self._engine.at_work <= self._engine_clock.sleeping

    def _raise_failures(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    def _describe(self) -> str:
        engine, log = self._engine, self.store.log
        return (
            f"{engine.live_runs} live runs, {engine.running_tasks} attempts running, {engine.waiting_tasks} waiting, "
            f"{log.head - log.routed} events not routed, next timer in {self.clock.next_seconds} s"
        )

    # ── looking ──

    async def run(self, run: str) -> RunView:
        """A run with its tasks."""
        summary, store = await self._summary(run), self.store
        history = await store.runs.history(run)
        kept = await store.runs.version(summary.dag, summary.version)
        graph = {} if kept is None else decode_graph(kept[2])
        return RunView(summary, {view.task_id: view for view in task_views(graph, history)}, tuple(history))

    async def runs(self, *, dag: str | None = None, state: str | None = None) -> list[RunSummary]:
        """Runs, oldest first."""
        found = await self.store.runs.list(RunFilter(dag=dag, state=state), before=None, limit=_ALL)
        return found[::-1]

    async def events(self, *, type: str | None = None) -> list[Event]:  # noqa: A002 - the attribute's own name
        """Events of the log in order, sent ones and our own."""
        found = await self.store.log.read(0, _ALL)
        return [logged.event for logged in found if type in (None, logged.event.type)]

    async def dispositions(self, position: int) -> list[Disposition]:
        """What became of the event at `position`, per trigger that matched it."""
        return await self.store.runs.dispositions(position)

    async def dead_letters(self) -> list[DeadLetter]:
        """What could not go on, oldest first."""
        return (await self.store.dead_letters.list(stage=None, before=None, limit=_ALL))[::-1]

    async def _summary(self, run: str) -> RunSummary:
        summary = await self.store.runs.get(run)
        if summary is None:
            raise NotFound("run", run)
        return summary

    # ── dying and living on ──

    @property
    def is_running(self) -> bool:
        """False after `kill`, `stop` or a crash, until `restart`."""
        return self._store is not None

    @property
    def store(self) -> OwnStore:
        """The store, for what this class has no word for."""
        if self._store is None:
            raise HarnessError("the harness does not run; call restart")
        return self._store

    @property
    def database(self) -> Path:
        """The database's file, where there is no `database_url`."""
        return Path(self._folder.name) / "state" / "tidemill.db"

    @property
    def live_runs(self) -> int:
        """Runs that the engine holds in memory."""
        return self._engine.live_runs

    def crash_at(self, point: str, n: int = 1) -> None:
        """Die at the `n`-th passage of a commit point from now on; `run_until_idle` returns then."""
        self.faults.append(CrashAt(point, n))

    async def kill(self) -> None:
        """Drop everything that is not on disk, as SIGKILL would.

        Running coroutines are cancelled and their outcomes lost; plain functions go on in their threads, and
        nobody listens to them.
        """
        store, self._dead = self.store, True
        self._store = None
        await self._end_stages()
        for executor in self._executors.values():
            await executor.close()
        await abandon(store, self._database_url)

    async def stop(self, *, drain_seconds: float = 30.0) -> None:
        """Stop in order, as SIGTERM does: what is decided is on disk, running attempts get `drain_seconds`.

        The time is real time; attempts that take longer are cut off, and begin again after `restart`.
        """
        store = self.store
        self._tasks[1].cancel()
        await self._give(drain_seconds, self._engine.drain())
        for executor in self._executors.values():
            await executor.close()
        await self._give(_LET_GO_SECONDS, self._engine.let_go())
        if self._crashed:
            await self.kill()
            raise HarnessError("the process crashed while it stopped")
        self._store = None
        await self._end_stages()
        try:
            await store.close()
        except CrashAt.Crashed:
            await abandon(store, self._database_url)
            raise HarnessError("the process crashed while it stopped") from None

    async def restart(
        self,
        *,
        dags: Iterable[DagDefinition | Dag] | None = None,
        triggers: str | None = None,
        faults: Iterable[Fault] = (),
    ) -> None:
        """Open the same database again (killing what runs), with other definitions where they are given.

        With `root` the folder is read again. `faults` replace those of the life before.
        """
        if self.is_running:
            await self.kill()
        if dags is not None:
            self._dags = list(dags)
        if triggers is not None:
            self._triggers = triggers
        self.faults[:] = faults
        await self._begin()

    @property
    def _crashed(self) -> bool:
        return any(isinstance(fault, CrashAt) and fault.has_crashed for fault in self.faults)

    async def _begin(self) -> None:
        self._dead = False
        folder = Path(self._folder.name)
        project = make_project(folder, dags=self._dags, root=self._root, triggers=self._triggers)
        self._tasks = ()
        self._executors = {}
        store = await open_own(self.database, self._database_url, clock=self.clock, probe=self._pass)
        self._store = store
        settings = self._settings
        size = settings.max_result_bytes
        local = {
            "loop": ClaimedExecutor(LoopExecutor(max_result_bytes=size, clock=self.clock), None),
            "thread": ClaimedExecutor(
                ThreadExecutor(workers=settings.thread_workers, max_result_bytes=size, clock=self.clock), None
            ),
        }
        # What would run on a cluster runs here, too.
        self._executors = {**local, "ray": ByKind(**local), "dask": ByKind(**local)}
        self._engine_clock, self._router_clock = StageClock(self.clock), StageClock(self.clock)
        self._engine = Engine(
            store,
            project.dags,
            self._executors,
            clock=self._engine_clock,
            settings=settings,
            metrics=Metrics(),
            random_source=random.Random(self._seed),  # noqa: S311 - a test's chance
            root=project.root,
        )
        self._router = Router(
            store,
            project,
            clock=self._router_clock,
            max_hops=settings.max_hops,
            max_held=settings.max_held_events,
        )
        await self._unless_crashed(self._engine.recover())
        loop = asyncio.get_running_loop()
        self._tasks = (
            loop.create_task(self._engine.run(), name="engine"),
            loop.create_task(self._router.run(), name="router"),
        )

    async def _end_stages(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _pass(self, point: str) -> None:
        """A commit passes a point (on SQLite in the database's thread)."""
        if self._dead:
            raise CrashAt.Crashed
        for fault in list(self.faults):
            try:
                fault(point)
            except sqlite3.OperationalError as error:
                self._unsettled = True
                raise wrong_at(point, self._database_url) from error


#: What the fixture `tidemill_harness` gives: takes what `Harness` takes.
MakeHarness = Callable[..., Harness]
