"""One service: a project, its store, and the stages around it.

Started in the direction of the flow's end to its beginning, so that whoever produces finds its consumer; stopped in
reverse: sources, router, engine (drained), sinks, store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.api.application import create_application
from tidemill.api.auth import check_exposure
from tidemill.api.parts import Parts
from tidemill.clock import Clock, SystemClock
from tidemill.engine.engine import Engine
from tidemill.errors import StorageError, StoreUnavailable
from tidemill.executors.build import build_executors, connect_engines, count_workers
from tidemill.executors.remote.request import Spent
from tidemill.keeping.archive import Archive
from tidemill.keeping.replay import Replayer
from tidemill.keeping.retention import Limits, Retention
from tidemill.project.load import load
from tidemill.project.model import Project, Subscription
from tidemill.project.paused import with_paused
from tidemill.routing.router import Router
from tidemill.runs.attempts import Executor
from tidemill.service.build import build_outlets, build_sources, open_project_archive, retention_limits
from tidemill.service.database import is_shared, open_postgres, open_project_store
from tidemill.service.keyed import KeyedStages
from tidemill.service.letters import decode_letter
from tidemill.service.live import LiveSinks, LiveSources, changed, source_facts, subscription_facts
from tidemill.service.note import Note
from tidemill.service.pools import LivePools, refusing
from tidemill.service.reconcile import reconciler
from tidemill.service.reload import Reloaded, Reloader
from tidemill.service.server import HttpServer, bind
from tidemill.service.sinks import MadeLanes, reaches
from tidemill.settings import Settings
from tidemill.sinks.dispatcher import Dispatcher
from tidemill.sinks.roster import Roster
from tidemill.sources.contract import Source, SourceStatus
from tidemill.sources.http import HttpIngest
from tidemill.sources.outcomes import Outcomes
from tidemill.sources.pauses import SourcePauses
from tidemill.sources.webhook import WebhookIngest
from tidemill.storage.contract import Store
from tidemill.storage.paused import PausedKind, PausedNames
from tidemill.storage.pauses import pause_after
from tidemill.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from tidemill.storage.postgres.membership import Membership

__all__ = ["Service"]

logger = logging.getLogger(__name__)


#: Longest time to record what was cut off, in seconds.
_LET_GO_SECONDS = 5.0


class Service:
    """Everything one `tidemill serve` runs."""

    def __init__(
        self,
        root: Path,
        settings: Settings,
        *,
        clock: Clock | None = None,
        probe: Callable[[str], None] | None = None,
    ) -> None:
        check_exposure(settings)
        self.settings = settings
        self.project = load(root, max_tasks=settings.max_tasks_per_dag, refuse=refusing(settings, root))
        self._root = root
        self._clock = clock or SystemClock()
        self._probe = probe
        self._begun = time.monotonic()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ready = False
        self._stopping = asyncio.Event()
        self._failed = asyncio.Event()
        self._failed_stage: str | None = None
        self._membership: Membership | None = None
        self._router: Router | None = None
        self._has_routed = False
        self._note = Note(root)

    @property
    def url(self) -> str:
        """Where the HTTP server answers."""
        host = self.settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}"

    async def start(self) -> None:
        """Return when every stage runs and requests are answered.

        Raises `SettingsError`, `ProjectLocked` or `StorageError`; then nothing runs.
        """
        settings = self.settings
        listener = bind(settings.host, settings.port)
        try:
            self.store = await self._open_store()
        except BaseException:
            listener.close()
            raise
        try:
            await self._build(listener)
        except BaseException:
            listener.close()
            await self.store.close()
            raise
        await self._engine.recover()
        self._spawn("engine", self._engine.run())
        self._spawn("durations", self._engine.learner.run())
        if self._membership is not None:
            await self._membership.join(
                settings.node_name or f"{socket.gethostname()}-{os.getpid()}",
                self.url,
                timeout_seconds=settings.node_timeout_seconds,
                load=self._load,
                busy=lambda: self._engine.busy_shards,
            )
        if self.store.shards.shared:  # else nobody but this process is told of pauses
            self._spawn("source pauses", self._pauses.follow())
            self._spawn("trigger pauses", self._trigger_pauses.follow())
            self._spawn("pools", self._pools.follow())
        self._keyed.start()
        self._spawn("subscriptions", self._roster.run())
        for source in self._first_sources:
            self._live.begin(source)
        self._spawn("reload", self._reloader.run())
        self._spawn("server", self._server.run())
        await self._server.wait_until_serving()
        self._ready = True
        self._note.write(self.url)
        seconds = round(time.monotonic() - self._begun, 3)
        logger.info(
            "service.started", extra={"url": self.url, "project": self._root.name, "seconds": seconds}
        )

    async def _build(self, listener: Any) -> None:
        settings, clock, store, project = self.settings, self._clock, self.store, self.project
        self.metrics = Metrics()
        self._executors: dict[str, Executor] = await build_executors(
            settings,
            project.dags,
            root=project.root,
            observe=self._observe_spent,
        )
        self._engine = Engine(
            store,
            project.dags,
            self._executors,
            clock=clock,
            settings=settings,
            metrics=self.metrics,
            root=project.root,
        )
        self._pools = LivePools(self._root, settings, store, clock=clock)
        await self._pools.load()
        self._pools.attach(self._engine.scheduler, self._engine.notify)
        self._pauses = SourcePauses(store.log, store.ledger, clock=clock)
        await self._pauses.load()
        self._trigger_pauses = PausedNames(
            store.log, store.ledger, kind=PausedKind.TRIGGER, clock=clock, changed=self._restart_router
        )
        self._keyed = KeyedStages(store.shards, clock=clock, failed=self._stage_failed)
        self._first_sources, off = self._build_sources(project)
        self._live = LiveSources(self._keyed, spawn=self._spawn, end=self._end)
        self._live.off = off
        outlets = build_outlets(project, clock=clock, settings=settings)
        self._reloader = Reloader(
            self._root,
            current=lambda: self.project,
            apply=self._apply,
            clock=clock,
            max_tasks=settings.max_tasks_per_dag,
            every_seconds=settings.reload_seconds,
            refusing=self._pools.reread,
            adopt=self._pools.adopt,
        )
        self._made = MadeLanes(
            clock=clock,
            settings=settings,
            root=project.root,
            add=lambda stage, run: self._keyed.add(stage, run),
            remove=lambda stage: self._keyed.remove(stage),
            deliver=self._deliver,
        )
        self._roster = Roster(
            store.subscriptions,
            [one.name for one in project.subscriptions],
            clock=clock,
            begin=self._made.begin,
            end=self._made.end,
        )
        is_paused = self._pauses.is_paused
        outcomes = Outcomes(
            store,
            project=lambda: self.project,
            clock=clock,
            max_seconds=settings.max_wait_seconds,
            max_waiting=settings.max_waiting_requests,
            stopping=self._stopping,
        )
        self._ingest = HttpIngest(
            store.log,
            clock=clock,
            settings=settings,
            project=lambda: self.project,
            outcomes=outcomes,
            is_paused=is_paused,
        )
        self._webhooks = WebhookIngest(
            store.log,
            project=lambda: self.project,
            clock=clock,
            settings=settings,
            outcomes=outcomes,
            is_paused=is_paused,
        )
        self.metrics.watch_queue("live_runs", lambda: self._engine.live_runs)
        self.metrics.watch_queue("parked_runs", lambda: self._engine.parked_runs)
        self.metrics.watch_queue("running_tasks", lambda: self._engine.running_tasks)
        self.metrics.watch_queue("waiting_tasks", lambda: self._engine.waiting_tasks)
        self.metrics.watch_queue("worker_processes", lambda: count_workers(self._executors))
        self.metrics.watch_queue("held_events", lambda: self._router.held if self._router is not None else 0)
        self.metrics.watch_queue("unrouted_events", lambda: store.log.head - store.log.routed)
        self._server = HttpServer(create_application(self._parts()), listener)
        self._sinks = LiveSinks(self._keyed, outlets, deliver=self._deliver_named)
        self._add_keyed_stages()

    def _build_sources(self, project: Project) -> tuple[Sequence[Source], Sequence[SourceStatus]]:
        return build_sources(
            project,
            self.store,
            clock=self._clock,
            settings=self.settings,
            pauses=self._pauses,
            current=lambda: self.project,
        )

    async def reload(self) -> Reloaded:
        """Read the project's folders now, and make what they say live where it is right."""
        return await self._reloader.reload()

    async def _apply(self, project: Project) -> None:
        """Make `project` the live one; raises `SettingsError`, and changes nothing, where that cannot be."""
        settings, was = self.settings, self.project
        sinks = changed(subscription_facts(was), subscription_facts(project))
        sources, off = self._build_sources(project)
        outlets = build_outlets(
            project, clock=self._clock, settings=settings, only=sinks, producer=self._sinks.outlets.producer
        )
        try:
            await connect_engines(
                self._executors, settings, project.dags, root=project.root, observe=self._observe_spent
            )
            # The engine first: what the router starts next may be of a new version.
            await self._engine.replace_dags(project.dags)
        except BaseException:
            await self._sinks.forgo(outlets)
            raise
        # From here on nothing may fail: half of an edit is never live.
        self.project = project
        self._restart_router()
        await self._sinks.follow(outlets, sinks)
        await self._live.follow(sources, changed(source_facts(was), source_facts(project)))
        self._live.off = off

    async def _open_store(self) -> Store:
        if not is_shared(self.settings):
            return await open_project_store(self._root, self.settings, clock=self._clock, probe=self._probe)
        store = await open_postgres(self._root, self.settings, clock=self._clock, probe=self._probe)
        self._membership = store.membership
        return store

    def _add_keyed_stages(self) -> None:
        """What one node alone does for the whole fleet; with one process, it does everything."""
        settings, clock, store = self.settings, self._clock, self.store
        self._restart_router()
        archive = open_project_archive(self._root, settings)
        limits = retention_limits(settings)
        self._keyed.add("retention", lambda: self._retention(limits, archive).run())
        self._keyed.add("replay", lambda: Replayer(store, archive, clock=clock).run())

    def _retention(self, limits: Limits, archive: Archive | None) -> Retention:
        return Retention(self.store, limits, archive, clock=self._clock, delivering=self._delivering)

    def _delivering(self) -> frozenset[str] | None:
        """Subscriptions that deliver, or will when their receivers answer; None before the store was asked."""
        return self._roster.delivering(one.name for one in self.project.subscriptions)

    def _restart_router(self) -> None:
        """Between two events: what the router before has not committed is routed by the new one."""
        self._keyed.add("router", self._route)

    async def _route(self) -> None:
        """Route by the live project, with triggers paused that somebody paused, until cancelled."""
        failures = 0
        while True:
            try:
                if self._has_routed:
                    # What the router before has handed in is on disk after this, or will never be.
                    await self.store.runs.answer(())
                await self._trigger_pauses.load()
                break
            except StoreUnavailable:
                failures += 1
                await self._clock.sleep(pause_after(failures))
        self._has_routed = True
        settings = self.settings
        # In a thread: the index of many rules takes seconds, in which this node would be taken for dead.
        self._router = await asyncio.to_thread(
            Router,
            self.store,
            with_paused(self.project, self._trigger_pauses.names),
            clock=self._clock,
            max_hops=settings.max_hops,
            max_held=settings.max_held_events,
        )
        try:
            await self._router.run()
        finally:
            self._router = None

    async def _deliver_named(self, name: str) -> None:
        """The lane of one of the project's subscriptions, as it is now."""
        subscription = next(one for one in self.project.subscriptions if one.name == name)
        await self._deliver(subscription)

    async def _deliver(self, subscription: Subscription) -> None:
        dispatcher = Dispatcher(
            [subscription],
            {**self._sinks.outlets.sinks, **self._made.sinks},
            log=self.store.log,
            letters=self.store.dead_letters,
            attempts=self.store.subscriptions,
            gates={subscription.name: self._roster.gate(subscription.name)},
            outbox=self.store.outbox,
            clock=self._clock,
            concurrency=self.settings.delivery_concurrency,
            count=lambda name, outcome: self.metrics.deliveries.labels(name, outcome).inc(),
        )
        await dispatcher.run()

    def _observe_spent(self, executor: str, dag: str, spent: Spent) -> None:
        metrics = self.metrics
        metrics.worker_seconds.labels(executor, dag).inc(spent.seconds)
        metrics.worker_cpu_seconds.labels(executor, dag).inc(spent.cpu_seconds)
        metrics.worker_waiting_seconds.labels(executor, dag).inc(spent.waiting_seconds)

    def _load(self) -> Mapping[str, int]:
        """What `tidemill nodes` shows of this node."""
        return {
            "live_runs": self._engine.live_runs,
            "parked_runs": self._engine.parked_runs,
            "running_tasks": self._engine.running_tasks,
            "waiting_tasks": self._engine.waiting_tasks,
            "unrouted_events": self.store.log.head - self.store.log.routed,
        }

    def _parts(self) -> Parts:
        return Parts(
            store=self.store,
            project=lambda: self.project,
            ingest=self._ingest,
            webhooks=self._webhooks,
            is_open_webhook=self._webhooks.is_open,
            settings=self.settings,
            clock=self._clock,
            ready=lambda: self._ready,
            statuses=self._statuses,
            pauses=self._pauses,
            reconcile=reconciler(lambda: self.project, self.store.ledger, self.settings),
            trigger_pauses=self._trigger_pauses,
            pools=self._pools,
            reloader=self._reloader,
            reaches=partial(reaches, settings=self.settings),
            decode_letter=partial(decode_letter, project=lambda: self.project, settings=self.settings),
            metrics=self.metrics,
            stopping=self._stopping,
        )

    def _statuses(self) -> Sequence[Mapping[str, Any]]:
        found = [
            self._ingest.status(),
            *self._webhooks.statuses(),
            *(one.status() for one in self._live.sources.values()),
            *self._live.off,
        ]
        return [asdict(self._pauses.shown(status)) for status in found]

    def _spawn(self, stage: str, work: Any) -> None:
        task = self._tasks[stage] = asyncio.get_running_loop().create_task(work, name=stage)
        task.add_done_callback(partial(self._ended, stage))

    def _ended(self, stage: str, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            if not task.cancelling():  # nobody ended it: a library's own cancellation got out of it
                self._stage_failed(stage, None)
        else:
            self._stage_failed(stage, task.exception())

    def _stage_failed(self, stage: str, error: BaseException | None) -> None:
        """A stage ended by itself: the service cannot go on without it."""
        if self._failed_stage is None and not self._stopping.is_set():
            logger.error("stage.failed", extra={"stage": stage, "error": repr(error)}, exc_info=error)
            self._failed_stage = stage
            self._ready = False
            self._failed.set()

    async def wait(self) -> str | None:
        """Return when a stop was asked for (None), or with the name of the stage that ended by itself."""
        loop = asyncio.get_running_loop()
        waits = [loop.create_task(self._stopping.wait()), loop.create_task(self._failed.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return self._failed_stage

    def ask_to_stop(self) -> None:
        """Not ready from here on; `wait` returns."""
        self._ready = False
        self._stopping.set()

    async def stop(self) -> None:
        """Stop everything in order: what was accepted is on disk, running tasks get `drain_seconds` to end."""
        begun = time.monotonic()
        self.ask_to_stop()
        if self._membership is not None:
            self._membership.retire()
        await self._end("reload")
        with contextlib.suppress(TimeoutError):  # one that was asked for by API begins nothing after this
            async with asyncio.timeout(_LET_GO_SECONDS):
                await self._reloader.close()
        self._server.stop()
        await self._keyed.stop("source ")
        await self._keyed.stop("replay")
        await self._keyed.stop("retention")
        await self._end(*[name for name in self._tasks if name.startswith(("source ", "trigger "))])
        await asyncio.wait([self._tasks["server"]])
        await self._keyed.stop("router")
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                if not self._tasks["engine"].done():
                    await self._engine.drain()
        except TimeoutError:
            pass  # what still runs is cut off; it will be found lost and started again
        for executor in self._executors.values():
            await executor.close()
        try:
            async with asyncio.timeout(_LET_GO_SECONDS):
                if not self._tasks["engine"].done():
                    await self._engine.let_go()
        except TimeoutError:
            pass  # the database does not answer: to whoever comes next it will look like a death
        await self._end("subscriptions", "durations")
        with contextlib.suppress(TimeoutError, StorageError):  # it is learned again
            async with asyncio.timeout(_LET_GO_SECONDS):
                await self._engine.learner.save()
        await self._keyed.stop("sink ")
        await self._end("engine", "server")
        await self._sinks.outlets.close()
        await self._made.close()
        await self.store.close()
        self._note.remove()
        logger.info("service.stopped", extra={"seconds": round(time.monotonic() - begun, 3)})

    async def _end(self, *stages: str) -> None:
        tasks = [self._tasks.pop(stage) for stage in stages]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
