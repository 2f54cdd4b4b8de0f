"""One service: a project, its store, and the stages around it.

Started in the direction of the flow's end to its beginning, so that whoever produces finds its consumer; stopped in
reverse: sources, router, engine (drained), sinks, store.
"""

from __future__ import annotations

import asyncio
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
from tidemill.executors.build import build_executors
from tidemill.project.load import load
from tidemill.project.model import Subscription
from tidemill.routing.router import Router
from tidemill.runs.attempts import Executor
from tidemill.service.build import build_outlets, build_sources
from tidemill.service.database import is_shared, open_postgres, open_project_store
from tidemill.service.keyed import KeyedStages
from tidemill.service.note import Note
from tidemill.service.server import HttpServer, bind
from tidemill.settings import Settings
from tidemill.sinks.dispatcher import Dispatcher
from tidemill.sources.contract import Source
from tidemill.sources.http import HttpIngest
from tidemill.sources.webhook import WebhookIngest
from tidemill.storage.contract import Store
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
        self.project = load(root, max_tasks=settings.max_tasks_per_dag)
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
        if self._membership is not None:
            await self._membership.join(
                settings.node_name or f"{socket.gethostname()}-{os.getpid()}",
                self.url,
                timeout_seconds=settings.node_timeout_seconds,
                load=self._load,
                busy=lambda: self._engine.busy_shards,
            )
        self._keyed.start()
        for source in self._sources:
            if source.on_every_node:
                self._spawn(f"source {source.name}", source.run())
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
        self._executors: Mapping[str, Executor] = await build_executors(
            settings,
            project.dags,
            root=project.root,
            observe=lambda executor, dag, seconds: self.metrics.worker_seconds.labels(executor, dag).inc(
                seconds
            ),
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
        self._sources, self._off = build_sources(project, store, clock=clock, settings=settings)
        self._outlets = build_outlets(project, clock=clock, settings=settings)
        self._ingest = HttpIngest(store.log, clock=clock, settings=settings)
        self._webhooks = WebhookIngest(
            store.log, project=lambda: self.project, clock=clock, settings=settings
        )
        self.metrics.watch_queue("live_runs", lambda: self._engine.live_runs)
        self.metrics.watch_queue("running_tasks", lambda: self._engine.running_tasks)
        self.metrics.watch_queue("waiting_tasks", lambda: self._engine.waiting_tasks)
        self.metrics.watch_queue("unrouted_events", lambda: store.log.head - store.log.routed)
        self._server = HttpServer(create_application(self._parts()), listener)
        self._add_keyed_stages()

    async def _open_store(self) -> Store:
        if not is_shared(self.settings):
            return await open_project_store(self._root, self.settings, clock=self._clock, probe=self._probe)
        store = await open_postgres(self._root, self.settings, clock=self._clock, probe=self._probe)
        self._membership = store.membership
        return store

    def _add_keyed_stages(self) -> None:
        """What one node alone does for the whole fleet; with one process, it does everything."""
        settings, clock, store, project = self.settings, self._clock, self.store, self.project
        self._keyed = KeyedStages(store.shards, clock=clock, failed=self._stage_failed)
        for subscription in self._outlets.subscriptions:
            self._keyed.add(f"sink {subscription.name}", partial(self._deliver, subscription))
        self._keyed.add(
            "router", lambda: Router(store, project, clock=clock, max_hops=settings.max_hops).run()
        )
        for source in self._sources:
            if not source.on_every_node:
                self._keyed.add(f"source {source.name}", source.run)

    async def _deliver(self, subscription: Subscription) -> None:
        dispatcher = Dispatcher(
            [subscription],
            self._outlets.sinks,
            log=self.store.log,
            outbox=self.store.outbox,
            clock=self._clock,
            concurrency=self.settings.delivery_concurrency,
            count=lambda name, outcome: self.metrics.deliveries.labels(name, outcome).inc(),
        )
        await dispatcher.run()

    def _load(self) -> Mapping[str, int]:
        """What `tidemill nodes` shows of this node."""
        return {
            "live_runs": self._engine.live_runs,
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
            settings=self.settings,
            clock=self._clock,
            ready=lambda: self._ready,
            statuses=self._statuses,
            metrics=self.metrics,
            stopping=self._stopping,
        )

    def _statuses(self) -> Sequence[Mapping[str, Any]]:
        sources: Sequence[Source] = self._sources
        found = [
            self._ingest.status(),
            *self._webhooks.statuses(),
            *(one.status() for one in sources),
            *self._off,
        ]
        return [asdict(status) for status in found]

    def _spawn(self, stage: str, work: Any) -> None:
        task = self._tasks[stage] = asyncio.get_running_loop().create_task(work, name=stage)
        task.add_done_callback(partial(self._ended, stage))

    def _ended(self, stage: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and not self._stopping.is_set():
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
        self._server.stop()
        await self._keyed.stop("source ")
        await self._end(*(name for name in self._tasks if name.startswith("source ")))
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
        await self._keyed.stop("sink ")
        await self._end("engine", "server")
        await self._outlets.close()
        await self.store.close()
        self._note.remove()
        logger.info("service.stopped", extra={"seconds": round(time.monotonic() - begun, 3)})

    async def _end(self, *stages: str) -> None:
        tasks = [self._tasks[stage] for stage in stages]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
