"""The life of an attempt that is made on a cluster: submitted, answered, stopped, reported exactly once.

The engine's own retries are off: whatever ends a worker is the failure of that attempt, and the task's retry policy
decides what follows. Nothing is polled: replies are awaited. What a stopped or lost attempt still answers is ignored.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import assert_never

from tidemill.clock import Clock, SystemClock
from tidemill.dag.resources import Resources
from tidemill.errors import SettingsError
from tidemill.executors.remote.bundle import Bundle, Bundles
from tidemill.executors.remote.capacity import Machine, explain_misfit
from tidemill.executors.remote.cluster import Call, Cluster, Submitted
from tidemill.executors.remote.outcomes import ClusterFailure, failure
from tidemill.executors.remote.request import Limits, Reply, decode_reply, encode_request
from tidemill.executors.result import cancelled, timed_out
from tidemill.runs.attempts import Attempt, Outcome

__all__ = ["Observe", "RemoteExecutor"]

logger = logging.getLogger(__name__)

#: Tells what a worker spent: executor, DAG, seconds.
Observe = Callable[[str, str, float], None]

#: Bundles up to this size travel with every request, larger ones to workers that ask for them, in bytes.
_SMALL_BUNDLE = 8192
#: How often the cluster is looked at while a request waits for it to grow, or while attempts are under way, in
#: seconds.
_LOOK_WAITING = 2.0
_LOOK_UNDER_WAY = 30.0
#: How long attempts wait for a cluster that has no machines at all, in seconds.
_EMPTY_SECONDS = 30.0


class _Why(Enum):
    CANCELLED = auto()
    TIMED_OUT = auto()
    STRANDED = auto()
    CLOSED = auto()


@dataclass(slots=True, eq=False)
class _Going:
    """An attempt under way."""

    attempt: Attempt
    head: bytes
    bundle: Bundle
    report: Callable[[Outcome], None]
    task: asyncio.Task[None] | None = None
    #: An asyncio task that is cancelled before it begins would never report.
    has_begun: bool = False
    submitted: Submitted | None = None
    why: _Why | None = None
    #: Looks at the cluster that found no machine for it.
    stranded: int = 0


class RemoteExecutor:
    """See `Executor`; `cluster` carries the attempts."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        limits: Limits,
        root: Path | None = None,
        wait_seconds: float = 0.0,
        observe: Observe | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`root` is the project's folder. `wait_seconds`: how long a request that no machine can satisfy waits for
        the cluster to grow."""
        self._cluster = cluster
        self._limits = limits
        self._bundles = Bundles(root)
        self._wait_seconds = wait_seconds
        self._observe = observe or (lambda _executor, _dag, _seconds: None)
        self._clock = clock or SystemClock()
        self._going: dict[tuple[str, int], _Going] = {}
        #: Make the names of calls unique, also beside other processes.
        self._token = uuid.uuid4().hex[:8]
        self._calls = itertools.count()
        self._machines: Sequence[Machine] = ()
        #: Requests that some machine of `_machines` can satisfy.
        self._fitting: set[Resources] = set()
        self._looking: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()

    async def connect(self) -> None:
        """Return when attempts can be submitted. Raises `SettingsError`."""
        await self._cluster.connect()
        await self._look()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        if self._closed:
            return
        try:
            bundle = self._bundles.of(attempt.dag)
            head = encode_request(
                attempt, self._limits, bundle=bundle, sets_environment=self._cluster.sets_environment
            )
        except Exception as error:  # what cannot cross now never can; the engine goes on
            outcome = failure(attempt, "NotSendable", f"{type(error).__name__}: {error}", permanent=True)
            self._loop.call_soon(self._report_unless_closed, report, outcome)
            return
        going = _Going(attempt, head, bundle, report)
        self._going[attempt.run_id, attempt.node.index] = going
        going.task = self._loop.create_task(self._run(going))
        if self._watch is None:
            self._watch = self._loop.create_task(self._watch_machines())

    def cancel(self, run_id: str, index: int) -> None:
        going = self._going.get((run_id, index))
        if going is not None:
            self._stop(going, _Why.CANCELLED)

    async def close(self) -> None:
        self._closed = True
        tasks = [going.task for going in self._going.values() if going.task is not None]
        for going in list(self._going.values()):
            self._stop(going, _Why.CLOSED)
        for helper in (self._watch, self._looking):
            if helper is not None:
                helper.cancel()
                tasks.append(helper)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._cluster.stop_seconds or 1.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._cluster.close()

    # ── one attempt ──

    async def _run(self, going: _Going) -> None:
        attempt = going.attempt
        going.has_begun = True
        try:
            if going.why is not None:
                raise asyncio.CancelledError
            outcome = await self._make(going)
        except asyncio.CancelledError:
            outcome = self._stopped(going)
        except ClusterFailure as error:
            if going.why is None:
                outcome = failure(attempt, error.kind, str(error), permanent=error.permanent)
            else:
                outcome = self._stopped(going)
        except Exception as error:  # ours or the engine's: the attempt must end in any case
            logger.exception("executor.failed", extra={"executor": self._cluster.name, "error": str(error)})
            outcome = failure(attempt, "ExecutorFailed", f"{type(error).__name__}: {error}")
        key = (attempt.run_id, attempt.node.index)
        if self._going.get(key) is going:  # a run that came back begins its attempts again
            del self._going[key]
        self._report_unless_closed(going.report, outcome)

    def _report_unless_closed(self, report: Callable[[Outcome], None], outcome: Outcome) -> None:
        if not self._closed:
            report(outcome)

    async def _make(self, going: _Going) -> Outcome:
        attempt = going.attempt
        await self._wait_for_machine(attempt.node.resources)
        timer = None
        if attempt.node.timeout is not None:
            timer = self._clock.call_later(
                attempt.node.timeout.total_seconds(), lambda: self._stop(going, _Why.TIMED_OUT)
            )
        try:
            reply = await self._ask(going)
        finally:
            if timer is not None:
                timer.cancel()
        self._tell(attempt, reply)
        if going.why is _Why.TIMED_OUT:
            return timed_out(attempt)
        assert reply.outcome is not None  # noqa: S101 - for the type checker
        return reply.outcome

    async def _ask(self, going: _Going) -> Reply:
        small = len(going.bundle.text) <= _SMALL_BUNDLE
        body = await self._submit(going, with_bundle=small)
        reply = decode_reply(going.attempt, body)
        if reply is None:  # nothing was called: the worker has never seen this version
            if going.why is not None:
                raise asyncio.CancelledError
            body = await self._submit(going, with_bundle=True)
            reply = decode_reply(going.attempt, body)
        if reply is None:
            raise ClusterFailure("ContractMismatch", "the worker asks for code that it was sent")
        return reply

    async def _submit(self, going: _Going, *, with_bundle: bool) -> bytes:
        attempt, node = going.attempt, going.attempt.node
        call = Call(
            f"{attempt.run_id}/{node.task_id}/{attempt.number}-{self._token}-{next(self._calls)}",
            f"{attempt.dag.dag_id}.{node.task_id}",
            going.head + going.bundle.text if with_bundle else going.head,
            node.resources,
            node.resources.idempotent and node.resources.is_plain and node.timeout is None,
        )
        going.submitted = self._cluster.submit(call, self._machines)
        return await going.submitted.reply()

    def _stop(self, going: _Going, why: _Why) -> None:
        if going.why is not None or going.task is None:
            return
        going.why = why
        if going.submitted is None:
            if going.has_begun:
                going.task.cancel()
            return
        going.submitted.stop()
        if self._cluster.stop_seconds:
            # Not the clock: this waits for the engine, which knows no virtual time.
            self._loop.call_later(self._cluster.stop_seconds, going.task.cancel)
        else:
            going.task.cancel()

    def _stopped(self, going: _Going) -> Outcome:
        attempt = going.attempt
        match going.why:
            case _Why.CANCELLED | _Why.CLOSED | None:
                return cancelled(attempt)
            case _Why.TIMED_OUT:
                return timed_out(attempt)
            case _Why.STRANDED:
                misfit = explain_misfit(attempt.node.resources, self._machines) or "its machine is gone"
                return failure(attempt, "Unschedulable", misfit)
            case _:
                assert_never(going.why)

    def _tell(self, attempt: Attempt, reply: Reply) -> None:
        self._observe(self._cluster.name, attempt.dag.dag_id, reply.seconds)
        if not reply.lines:
            return
        facts = {
            "run_id": attempt.run_id,
            "task": attempt.node.task_id,
            "attempt": attempt.number,
            "worker": reply.worker,
        }
        for line in reply.lines:
            logger.info("task.said", extra={**facts, "severity": line.level, "line": line.text})
        if reply.dropped:
            left_out = f"({reply.dropped} more lines were left out)"
            logger.info("task.said", extra={**facts, "severity": "WARNING", "line": left_out})

    # ── machines ──

    async def _wait_for_machine(self, request: Resources) -> None:
        """Return when some machine can satisfy the request; `ClusterFailure` when none ever can."""
        waited = 0.0
        while request not in self._fitting:
            await self._look()
            misfit = explain_misfit(request, self._machines)
            if misfit is None:
                self._fitting.add(request)
                return
            # Workers that start anew leave a cluster empty for a moment, which says nothing of its size.
            patience = self._wait_seconds if self._machines else max(self._wait_seconds, _EMPTY_SECONDS)
            if waited >= patience:
                raise ClusterFailure("Unschedulable", misfit, permanent=bool(self._machines))
            pause = min(_LOOK_WAITING, patience - waited)
            await self._clock.sleep(pause)
            waited += pause

    async def _look(self) -> None:
        """See what the cluster has now; whoever asks meanwhile gets the same answer."""
        if self._looking is None:
            self._looking = self._loop.create_task(self._ask_for_machines())
            self._looking.add_done_callback(self._looked)
        await asyncio.shield(self._looking)

    def _looked(self, looking: asyncio.Task[None]) -> None:
        self._looking = None
        if not looking.cancelled():
            looking.exception()  # raised where it is awaited, if anybody still waits

    async def _ask_for_machines(self) -> None:
        self._machines = await self._cluster.machines()
        self._fitting = {one for one in self._fitting if explain_misfit(one, self._machines) is None}

    async def _watch_machines(self) -> None:
        """Attempts whose only machines went away would wait for ever: seen twice without one, they are stopped."""
        absent = 0
        while True:
            await self._clock.sleep(_LOOK_UNDER_WAY)
            try:
                await self._look()
            except ClusterFailure:
                absent += 1
            else:
                absent = 0 if self._machines else absent + 1
                self._stop_stranded()
            if absent > 1 and await self._rejoin():
                absent = 0

    def _stop_stranded(self) -> None:
        for going in list(self._going.values()):
            if explain_misfit(going.attempt.node.resources, self._machines) is None:
                going.stranded = 0
                continue
            going.stranded += 1
            if going.stranded > 1 and going.submitted is not None:
                self._stop(going, _Why.STRANDED)

    async def _rejoin(self) -> bool:
        """The cluster that we were part of is gone: join what is there now, once it is; what was under way is lost.

        While nothing is there, attempts are left alone: workers can outlive the head of their cluster.
        """
        try:
            await self._cluster.reach()
            for going in list(self._going.values()):
                if going.submitted is not None:
                    self._stop(going, _Why.STRANDED)
            await self._cluster.rejoin()
            await self._look()
        except (SettingsError, ClusterFailure) as error:
            facts = {"executor": self._cluster.name, "error": str(error)}
            logger.warning("executor.unreachable", extra=facts)
            return False
        logger.warning("executor.rejoined", extra={"executor": self._cluster.name})
        return True
