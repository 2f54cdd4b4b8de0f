"""The world of a harness: its folder, its clock, its faults, and the lives of the process that follow each other in it.

Rules:
1. Time stands still while anything has something to do; what becomes due does its work before the next thing is due.
2. Everything rests when router and engine say so and nothing is ready in the event loop. SQLite is asked in the loop
   itself, so nothing else is under way; a database elsewhere is given some looks in real time.
3. Attempts that take real time are given it, each once, when the test does not wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import Coroutine, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import Dag
from tidemill.engine.engine import Engine
from tidemill.errors import StoreUnavailable, TidemillError
from tidemill.project.model import Project
from tidemill.runs.attempts import Attempt
from tidemill.settings import Settings
from tidemill.sinks.lane import LOOK_AGAIN_SECONDS
from tidemill.storage.sqlite.store import SqliteStore
from tidemill.testing.chaos import Chaos, Misfortune
from tidemill.testing.clock import ManualClock
from tidemill.testing.databases import OwnStore, abandon, open_own, settle, wrong_at
from tidemill.testing.faults import CrashAt, CrashAtTask, Fault
from tidemill.testing.life import Life
from tidemill.testing.project import make_project
from tidemill.testing.receivers import Receiver
from tidemill.testing.seeded import SeededIds
from tidemill.testing.stillness import let_run
from tidemill.testing.stubs import Stubs

__all__ = ["HarnessError", "World"]

T = TypeVar("T")

#: Longest real time that a test waits for the stages, in seconds.
_PATIENCE = 30.0
#: Longest real time to record what a stop cut off, in seconds: a commit that has failed waits for virtual time.
_LET_GO_SECONDS = 0.5
#: Looks at the stages, one after the other, that must all find them at rest, where the database is elsewhere.
_LOOKS = 3
#: The same where attempts are running that may be about to end.
_LOOKS_AT_ATTEMPTS = 12
_LOOK_SECONDS = 0.0005
#: An idle lane looks into the outbox by itself after this time, in seconds, unless answers may be lost.
_LOOK_AGAIN_SECONDS = 3600.0
#: Times that a process may die of chaos while a run is at work.
_MANY = 1000
#: Real time that an attempt is given to end, in seconds, when the test does not wait for attempts.
_GRACE_SECONDS = 0.2


class HarnessError(TidemillError):
    """The test asks for what cannot come: time must pass first, a task never ends, the harness is stopped."""


class World:
    """See `Harness`."""

    def __init__(
        self,
        *,
        dags: Iterable[DagDefinition | Dag] = (),
        root: Path | None = None,
        triggers: str = "",
        database_url: str | None = None,
        seed: int = 0,
        chaos: Chaos | None = None,
        faults: Iterable[Fault] = (),
        sources: bool = True,
        **settings: Any,
    ) -> None:
        self.clock = ManualClock()
        #: Told of every commit point, in order; see `tidemill.testing.faults`. Change it at any time.
        self.faults: list[Fault] = list(faults)
        #: Chaos at work; None without.
        self.misfortune = None if chaos is None else Misfortune(chaos)
        self._dags, self._root, self._triggers = list(dags), root, triggers
        self._database_url = database_url
        self._seed = seed
        self._with_sources = sources
        if chaos is not None:  # else a run that chaos killed often enough would be taken for the cause
            settings.setdefault("max_recoveries", _MANY)
        self._settings = Settings(**settings)
        self._folder = tempfile.TemporaryDirectory(prefix="tidemill-")
        self._ids = SeededIds(self.clock, seed)
        self._stubs = Stubs()
        self._receivers: dict[str, Receiver] = {}
        self._store: OwnStore | None = None
        self._life: Life | None = None
        self._dead = False
        #: Set when the process has died.
        self._crash = asyncio.Event()
        #: Somebody lets the stages work, and hands outcomes on.
        self._is_led = False
        #: A commit has failed since the store was last asked what is true.
        self._unsettled = False

    async def __aenter__(self) -> Self:
        try:
            await self._begin_somehow()
            # What comes first does not share a commit with the beginning.
            await let_run(asyncio.get_running_loop())
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

    # ── letting it work ──

    @property
    def _patience(self) -> float:
        return _PATIENCE

    async def run_until_idle(self, *, attempts: bool = True) -> None:
        """Return when nothing is left to do before time passes or somebody acts.

        Waits for running attempts to end, unless `attempts` is False (tasks that wait for the test, or for a
        timeout). Returns at once when the process has crashed (`crash_at`) or does not run. Raises what made a
        stage end.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience
        looks = 0
        with self._leading():
            while self.is_running:
                await self._hand_in()
                await let_run(loop)
                if self._crashed:
                    await self.kill()
                    if await self._revive():
                        continue
                    return
                life = self._alive
                life.raise_failures()
                if not life.is_still:
                    looks = 0
                    await asyncio.sleep(_LOOK_SECONDS)
                elif self._unsettled:
                    looks = 0
                    self._unsettled = False
                    await settle(self.store)
                elif life.threads_worth_waiting and await self._give_time(attempts=False):
                    looks = 0  # all outcomes of threads that come, or none: which is faster is not to be seen
                elif life.deliver_outcomes() or await self._give_time(attempts=attempts):
                    looks = 0
                else:
                    looks += 1
                    if looks >= self._looks:
                        return
                    await asyncio.sleep(_LOOK_SECONDS)
                if loop.time() > end:
                    raise HarnessError(f"still busy after {self._patience:g} s: {self._describe()}")

    @property
    def _looks(self) -> int:
        """Looks that must find everything at rest."""
        if isinstance(self._store, SqliteStore):
            return 1
        return _LOOKS_AT_ATTEMPTS if self._alive.attempts_under_way else _LOOKS

    async def _give_time(self, *, attempts: bool) -> bool:
        """Let attempts that take real time have some, all they take if `attempts`; False where nobody is waited for."""
        life = self._alive
        # A commit that waits for its next try may hold what they wait for.
        attempts = attempts and not life.engine_clock.sleeping
        if not (life.attempts_under_way if attempts else life.attempts_worth_waiting):
            return False
        life.moved.clear()
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await life.moved.wait()
        except TimeoutError:
            life.outlast_attempts()
            return attempts
        return True

    async def advance(
        self,
        seconds: float | timedelta = 0.0,
        *,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
    ) -> None:
        """Let time pass, step by step: what becomes due does its work before the next thing becomes due."""
        given = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        end_us = self.clock.elapsed_us + round(
            (given + timedelta(minutes=minutes, hours=hours, days=days)) / timedelta(microseconds=1)
        )
        await self.run_until_idle(attempts=False)
        while self.is_running and (due_us := self.clock.next_us) is not None and due_us <= end_us:
            self.clock.advance_to(due_us)
            await self.run_until_idle(attempts=False)
        self.clock.advance_to(end_us)
        if self.is_running:
            await self.run_until_idle(attempts=False)

    async def run_until_done(self, *, limit: float = 30 * 86_400) -> None:
        """Let as much time pass as it takes, up to `limit` seconds, until every run has ended.

        Files that were dropped have landed by then, and messages that chaos delays have come.
        """
        end_us = self.clock.elapsed_us + round(limit * 1_000_000)
        await self.run_until_idle(attempts=False)
        while self.is_running and self._is_busy:
            due_us = self.clock.next_us
            if due_us is None:
                await self.run_until_idle()
                if self.is_running and self._is_busy and self.clock.next_us is None:
                    raise HarnessError(f"runs wait for what time does not bring: {self._describe()}")
                continue
            if due_us > end_us:
                raise HarnessError(f"runs have not ended in {limit:g} s: {self._describe()}")
            self.clock.advance_to(due_us)
            await self.run_until_idle(attempts=False)

    @property
    def _is_busy(self) -> bool:
        life = self._alive
        engine = life.engine
        has_runs = engine.live_runs > 0 or engine.parked_runs > 0
        return has_runs or life.arrivals.waiting > 0 or life.waits_for_the_store

    async def _hand_in(self) -> None:
        """Messages that are on their way and due are handed in."""

    @contextlib.contextmanager
    def _leading(self) -> Iterator[None]:
        before, self._is_led = self._is_led, True
        try:
            yield
        finally:
            self._is_led = before

    def _describe(self) -> str:
        engine, log = self._alive.engine, self.store.log
        return (
            f"{engine.live_runs} live runs, {engine.running_tasks} attempts running, {engine.waiting_tasks} waiting, "
            f"{engine.parked_runs} runs that are parked, "
            f"{log.head - log.routed} events not routed, next timer in {self.clock.next_seconds} s"
        )

    # ── what holds now ──

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
    def project(self) -> Project:
        """The project as it is loaded."""
        return self._alive.project

    @property
    def database(self) -> Path:
        """The database's file, where there is no `database_url`."""
        return self.folder / "state" / "tidemill.db"

    @property
    def folder(self) -> Path:
        """The harness's own folder, gone with it."""
        return Path(self._folder.name)

    @property
    def live_runs(self) -> int:
        """Runs that the engine holds in memory."""
        return self._alive.engine.live_runs

    @property
    def _engine(self) -> Engine:
        return self._alive.engine

    @property
    def _alive(self) -> Life:
        if self._life is None:
            raise HarnessError("the harness does not run; call restart")
        return self._life

    # ── dying and living on ──

    def crash_at(self, point: str, n: int = 1) -> None:
        """Die at the `n`-th passage of a commit point from now on; `run_until_idle` returns then."""
        self.faults.append(CrashAt(point, n))

    def crash_at_task(self, task: str, n: int = 1) -> None:
        """Die as the `n`-th attempt of `DAG.TASK` from now on begins; `run_until_idle` returns then."""
        self.faults.append(CrashAtTask(task, n))

    async def kill(self) -> None:
        """Drop everything that is not on disk, as SIGKILL would.

        Running coroutines are cancelled and their outcomes lost; plain functions go on in their threads, and
        nobody listens to them.
        """
        store, life, self._dead = self.store, self._life, True
        self._store = None
        if life is not None:
            await life.end()
            await life.close_executors()
        await abandon(store, self._database_url)

    async def stop(self, *, drain_seconds: float = 30.0) -> None:
        """Stop in order, as SIGTERM does: what is decided is on disk, running attempts get `drain_seconds`.

        The time is real time; attempts that take longer are cut off, and begin again after `restart`.
        """
        store, life = self.store, self._alive
        life.cancel("source ", "router")
        await self._give(drain_seconds, life.engine.drain())
        await life.close_executors()
        await self._give(_LET_GO_SECONDS, life.engine.let_go())
        if self._crashed:
            await self.kill()
            raise HarnessError("the process crashed while it stopped")
        self._store = None
        await life.end()
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
        if self.misfortune is not None and self.misfortune.has_crashed:
            return True
        return any(isinstance(fault, CrashAt | CrashAtTask) and fault.has_crashed for fault in self.faults)

    async def _revive(self) -> bool:
        """Begin again after a death that chaos brought; False where it was the test's own."""
        if self.misfortune is None or not self.misfortune.has_crashed:
            return False
        self.misfortune.revive()
        await self._begin_somehow()
        return True

    async def _begin_somehow(self) -> None:
        """Begin; under chaos, which may strike then too, again and again."""
        while True:
            try:
                await self._begin()
                return
            except (StoreUnavailable, HarnessError):
                if self.misfortune is None:
                    raise
                if self.is_running:
                    await self.kill()
                self.misfortune.revive()

    async def _begin(self) -> None:
        self._dead = False
        self._crash.clear()
        self._life = None
        project = make_project(self.folder, dags=self._dags, root=self._root, triggers=self._triggers)
        for one in project.subscriptions:
            self._receivers.setdefault(one.name, Receiver(one.name))
        store = await open_own(self.database, self._database_url, clock=self.clock, probe=self._pass)
        self._store = store
        life = Life(
            project,
            store,
            clock=self.clock,
            settings=self._settings,
            seed=self._seed,
            ids=self._ids,
            stubs=self._stubs,
            receivers=self._receivers,
            folder=self.folder,
            begins=self._attempt_begins,
            is_led=lambda: self._is_led,
            look_again_seconds=_LOOK_AGAIN_SECONDS if self.misfortune is None else LOOK_AGAIN_SECONDS,
        )
        self._life = life
        await self._unless_crashed(life.recover())
        life.begin(with_sources=self._with_sources)

    def _pass(self, point: str) -> None:
        """A commit passes a point."""
        if self._dead:
            raise CrashAt.Crashed
        everything = list(self.faults)
        if self.misfortune is not None:
            everything.append(self.misfortune)
        for fault in everything:
            try:
                fault(point)
            except sqlite3.OperationalError as error:
                self._unsettled = True
                raise wrong_at(point, self._database_url, error) from error
            except CrashAt.Crashed:
                self._crash.set()
                raise

    def _attempt_begins(self, attempt: Attempt) -> bool:
        """Whether an attempt begins, or the process dies of it."""
        if self._crashed:
            return False
        asked = [fault for fault in self.faults if isinstance(fault, CrashAtTask)]
        if all(fault.begins(attempt.dag.dag_id, attempt.node.task_id) for fault in asked):
            return True
        self._crash.set()
        return False

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
        loop = asyncio.get_running_loop()
        task, crash = loop.create_task(work), loop.create_task(self._crash.wait())
        # No timer decides when the test goes on, else real time would decide what is done together.
        with self._leading():
            try:
                await asyncio.wait((task, crash), return_when=asyncio.FIRST_COMPLETED)
                if not task.done():
                    await self.kill()
                    raise HarnessError("the process crashed before it answered")
            finally:
                task.cancel()
                crash.cancel()
        return task.result()
