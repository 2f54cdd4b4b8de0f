"""The life of an attempt that is made on a cluster: submitted, answered, stopped, reported exactly once.

The engine's own retries are off: whatever ends a worker is the failure of that attempt, and the task's retry policy
decides what follows. Nothing is polled: replies are awaited. What a stopped or lost attempt still answers is ignored.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import assert_never

from tidemill.clock import Clock, SystemClock, Wakeup
from tidemill.executors.remote.bundle import Bundle
from tidemill.executors.remote.capacity import explain_misfit
from tidemill.executors.remote.cluster import Call, Cluster, Submitted
from tidemill.executors.remote.membership import Membership
from tidemill.executors.remote.outcomes import ClusterFailure, failure
from tidemill.executors.remote.packs import DEFAULT_SIZE, Packed, Packs
from tidemill.executors.remote.request import (
    Limits,
    Reply,
    Spent,
    decode_reply,
    encode_request,
    make_item,
)
from tidemill.executors.remote.task_texts import TaskTexts
from tidemill.executors.result import cancelled, timed_out
from tidemill.executors.said import tell_lines
from tidemill.runs.attempts import Attempt, Outcome

__all__ = ["Observe", "RemoteExecutor", "Spent"]

logger = logging.getLogger(__name__)

#: Tells what an attempt spent: executor, DAG, how much.
Observe = Callable[[str, str, Spent], None]

#: Bundles up to this size travel with every request, larger ones to workers that ask for them, in bytes.
_SMALL_BUNDLE = 8192


class _Why(Enum):
    CANCELLED = auto()
    TIMED_OUT = auto()
    STRANDED = auto()
    LOST = auto()
    CLOSED = auto()


@dataclass(slots=True, eq=False)
class _Going:
    """An attempt under way."""

    attempt: Attempt
    head: bytes
    bundle: Bundle
    report: Callable[[Outcome], None]
    #: When it was handed to us, in the loop's time.
    since: float
    task: asyncio.Task[None] | None = None
    #: An asyncio task that is cancelled before it begins would never report.
    has_begun: bool = False
    submitted: Submitted | None = None
    #: The end of its timeout, once a worker has begun it.
    timer: Wakeup | None = None
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
        pack_size: int = DEFAULT_SIZE,
        wait_seconds: float = 0.0,
        observe: Observe | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`root` is the project's folder. `pack_size`: most attempts in one request, where the cluster has warm
        workers. `wait_seconds`: how long a request that no machine can satisfy waits for the cluster to grow."""
        self._cluster = cluster
        self._limits = limits
        self._texts = TaskTexts(limits, root, sets_environment=cluster.sets_environment)
        self._observe = observe or (lambda _executor, _dag, _spent: None)
        self._clock = clock or SystemClock()
        self._members = Membership(
            cluster,
            wait_seconds=wait_seconds,
            clock=self._clock,
            looked=self._stop_stranded,
            lost=self._lose,
        )
        self._packs = Packs(cluster, size=pack_size, tell=self._tell) if cluster.lanes else None
        self._going: dict[tuple[str, int], _Going] = {}
        #: Make the names of calls unique, also beside other processes.
        self._token = uuid.uuid4().hex[:8]
        self._calls = itertools.count()
        self._closed = False
        self._loop = asyncio.get_running_loop()

    async def connect(self) -> None:
        """Return when attempts can be submitted. Raises `SettingsError`."""
        await self._members.join()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        if self._closed:
            return
        self._members.watch()
        try:
            task, bundle = self._texts.of(attempt)
            if self._packs is not None and _packs(attempt):
                self._packs.add(Packed(attempt, task, make_item(attempt), bundle, report, self._loop.time()))
                return
            head = encode_request(attempt, task)
        except Exception as error:  # what cannot cross now never can; the engine goes on
            outcome = failure(attempt, "NotSendable", f"{type(error).__name__}: {error}", permanent=True)
            self._loop.call_soon(self._report_unless_closed, report, outcome)
            return
        going = _Going(attempt, head, bundle, report, self._loop.time())
        self._going[attempt.run_id, attempt.index] = going
        going.task = self._loop.create_task(self._run(going))

    def cancel(self, run_id: str, index: int) -> None:
        going = self._going.get((run_id, index))
        if going is not None:
            self._stop(going, _Why.CANCELLED)
        elif self._packs is not None:
            self._packs.cancel(run_id, index)

    async def close(self) -> None:
        self._closed = True
        tasks = [going.task for going in self._going.values() if going.task is not None]
        for going in list(self._going.values()):
            self._stop(going, _Why.CLOSED)
        await self._members.close()
        if self._packs is not None:
            await self._packs.close()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._cluster.stop_seconds or 1.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._cluster.close()

    def forget_code(self) -> None:
        """The project was read again: the modules beside its files may be others."""
        self._texts.forget()

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
        key = (attempt.run_id, attempt.index)
        if self._going.get(key) is going:  # a run that came back begins its attempts again
            del self._going[key]
        self._report_unless_closed(going.report, outcome)

    def _report_unless_closed(self, report: Callable[[Outcome], None], outcome: Outcome) -> None:
        if not self._closed:
            report(outcome)

    async def _make(self, going: _Going) -> Outcome:
        attempt = going.attempt
        await self._members.wait_for_machine(attempt.node.resources)
        try:
            reply = await self._ask(going)
        finally:
            if going.timer is not None:
                going.timer.cancel()
        self._tell(attempt, reply, going.since)
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
            f"{attempt.run_id}/{attempt.task_id}/{attempt.number}-{self._token}-{next(self._calls)}",
            f"{attempt.dag.dag_id}.{node.task_id}",
            going.head + going.bundle.text if with_bundle else going.head,
            node.resources,
            None if node.timeout is None else lambda: self._begun(going),
        )
        going.submitted = self._cluster.submit(call, self._members.machines)
        return await going.submitted.reply()

    def _begun(self, going: _Going) -> None:
        """A worker has the attempt: its time runs from here, not from when it was handed to the cluster."""
        timeout = going.attempt.node.timeout
        if timeout is not None and going.timer is None and going.why is None:
            going.timer = self._clock.call_later(
                timeout.total_seconds(), lambda: self._stop(going, _Why.TIMED_OUT)
            )

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
                misfit = explain_misfit(attempt.node.resources, self._members.machines)
                return failure(attempt, "Unschedulable", misfit or "its machine is gone")
            case _Why.LOST:
                return failure(attempt, "ClusterLost", "the cluster went away, and the attempt with it")
            case _:
                assert_never(going.why)

    def _tell(self, attempt: Attempt, reply: Reply, since: float) -> None:
        waiting = max(self._loop.time() - since - reply.seconds, 0.0)
        spent = Spent(reply.seconds, reply.cpu_seconds, waiting)
        self._observe(self._cluster.name, attempt.dag.dag_id, spent)
        if reply.lines:
            tell_lines(attempt, reply.lines, dropped=reply.dropped, worker=reply.worker)

    # ── what becomes of the cluster ──

    def _stop_stranded(self) -> None:
        """Attempts whose only machines went away would wait for ever: seen twice without one, they are stopped."""
        if self._packs is not None:
            self._packs.resume()
        for going in list(self._going.values()):
            if explain_misfit(going.attempt.node.resources, self._members.machines) is None:
                going.stranded = 0
                continue
            going.stranded += 1
            if going.stranded > 1 and going.submitted is not None:
                self._stop(going, _Why.STRANDED)

    def _lose(self) -> None:
        """What was submitted will not be answered; what was not waits for the cluster."""
        if self._packs is not None:
            self._packs.pause()
        for going in list(self._going.values()):
            if going.submitted is not None:
                self._stop(going, _Why.LOST)


def _packs(attempt: Attempt) -> bool:
    """It does no harm twice, needs nothing special, and has no limit of time."""
    node = attempt.node
    return node.resources.idempotent and node.resources.is_plain and node.timeout is None
