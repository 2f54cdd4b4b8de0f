"""The life of an attempt that is made in a worker process: waiting, handed over, answered or stopped, reported once.

An attempt that is stopped (cancelled, out of time, silent) is reported when its process is gone, not before: nothing of
it goes on beside the attempt that follows. Its time runs from when a worker has it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tidemill.clock import Clock, SystemClock
from tidemill.executors.process.exits import Exit, explain_exit
from tidemill.executors.process.worker import Worker
from tidemill.executors.process.workers import Workers
from tidemill.executors.remote.bundle import Bundle
from tidemill.executors.remote.outcomes import failure
from tidemill.executors.remote.request import (
    Limits,
    Reply,
    Spent,
    decode_reply,
    encode_request,
)
from tidemill.executors.remote.task_texts import TaskTexts
from tidemill.executors.result import cancelled
from tidemill.executors.said import tell_lines
from tidemill.executors.time_limits import TimeLimits, has_time_limits
from tidemill.runs.attempts import Attempt, Outcome, OutcomeKind

__all__ = ["Allowances", "ProcessExecutor"]

#: What a reply has beside the result at most, in bytes.
_REPLY_HEAD = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowances:
    """What an attempt may use where its task does not say; None for no limit."""

    #: Bytes.
    memory: int | None = None
    cpu_seconds: float | None = None


_NO_LIMITS = Allowances()


@dataclass(slots=True, eq=False)
class _Going:
    """An attempt that waits for a worker, or has one."""

    attempt: Attempt
    head: bytes
    bundle: Bundle
    report: Callable[[Outcome], None]
    #: When it was handed to us, in the loop's time.
    since: float
    memory: int | None
    worker: Worker | None = None
    limits: TimeLimits | None = None
    #: What becomes of it when its worker is gone, once it was stopped.
    decided: Outcome | None = None


class ProcessExecutor:
    """See `Executor`. Nothing is started before there is an attempt."""

    def __init__(
        self,
        *,
        limits: Limits,
        workers: int,
        allowances: Allowances = _NO_LIMITS,
        idle_seconds: float = 60.0,
        environment: Mapping[str, str] | None = None,
        root: Path | None = None,
        observe: Callable[[str, str, Spent], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`environment` is all that tasks see of it; `root` is the project's folder."""
        self._limits = limits
        self._allowances = allowances
        self._observe = observe or (lambda _executor, _dag, _spent: None)
        self._clock = clock or SystemClock()
        self._texts = TaskTexts(limits, root, sets_environment=True)
        self._workers = Workers(
            self,
            limit=workers,
            idle_seconds=idle_seconds,
            environment=environment or {},
            largest=limits.max_result_bytes + _REPLY_HEAD,
            clock=self._clock,
        )
        self._waiting: deque[_Going] = deque()
        self._going: dict[tuple[str, int], _Going] = {}
        self._by_worker: dict[int, _Going] = {}
        self._closed = False
        self._loop = asyncio.get_running_loop()

    @property
    def pids(self) -> list[int]:
        """Process ids: the fork server's and the workers', none when there was nothing to do for a while."""
        return self._workers.pids

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        if self._closed:
            return
        try:
            task, bundle = self._texts.of(attempt)
            head = encode_request(attempt, task)
        except Exception as error:  # what cannot cross now never can; the engine goes on
            outcome = failure(attempt, "NotSendable", f"{type(error).__name__}: {error}", permanent=True)
            self._loop.call_soon(self._report, report, outcome)
            return
        memory = attempt.node.resources.memory or self._allowances.memory
        going = _Going(attempt, head, bundle, report, self._loop.time(), memory)
        self._going[attempt.run_id, attempt.index] = going
        self._waiting.append(going)
        self._hand_over()

    def cancel(self, run_id: str, index: int) -> None:
        going = self._going.get((run_id, index))
        if going is None:
            return
        if going.worker is None:
            self._waiting.remove(going)
            del self._going[run_id, index]
            self._loop.call_soon(self._report, going.report, cancelled(going.attempt))
        else:
            self._stop(going, cancelled(going.attempt))

    async def close(self) -> None:
        self._closed = True
        self._waiting.clear()
        for going in self._by_worker.values():
            if going.limits is not None:
                going.limits.cancel()
        await self._workers.close()

    def forget_code(self) -> None:
        """The project was read again: the modules beside its files may be others."""
        self._texts.forget()

    # ── attempts and workers ──

    def _hand_over(self) -> None:
        while self._waiting and not self._closed:
            worker = self._workers.take(self._waiting[0].bundle.digest)
            if worker is None:
                self._workers.want(len(self._waiting))
                return
            self._give(self._waiting.popleft(), worker)

    def _give(self, going: _Going, worker: Worker) -> None:
        going.worker = worker
        self._by_worker[worker.number] = going
        if has_time_limits(going.attempt):
            # Silence counts from the call on, which the worker tells of: importing the file is not silence.
            going.limits = TimeLimits(
                going.attempt, self._clock, lambda: self._break_off(going), begins=False
            )
        self._send(going, worker)

    def _send(self, going: _Going, worker: Worker) -> None:
        is_known = going.bundle.digest in worker.bundles
        worker.bundles.add(going.bundle.digest)
        heartbeat = going.attempt.node.policy.heartbeat
        worker.request(
            going.head if is_known else going.head + going.bundle.text,
            memory=going.memory or 0,
            cpu_seconds=self._allowances.cpu_seconds or 0,
            heartbeat=heartbeat.total_seconds() if heartbeat is not None else 0,
        )

    def _break_off(self, going: _Going) -> None:
        assert going.limits is not None  # noqa: S101 - they are what broke
        assert going.limits.broken is not None  # noqa: S101
        self._stop(going, going.limits.broken)

    def _stop(self, going: _Going, outcome: Outcome) -> None:
        if going.decided is not None or going.worker is None:
            return
        going.decided = outcome
        self._tell_lines(going, is_answered=False)
        going.worker.output.begin()  # from here on it says where it was stopped
        self._workers.stop(going.worker)

    def _end(self, going: _Going, outcome: Outcome) -> None:
        if going.limits is not None:
            going.limits.cancel()
        key = (going.attempt.run_id, going.attempt.index)
        if self._going.get(key) is going:  # a run that came back begins its attempts again
            del self._going[key]
        self._report(going.report, outcome)

    def _report(self, report: Callable[[Outcome], None], outcome: Outcome) -> None:
        if not self._closed:
            report(outcome)

    # ── what the workers tell ──

    def freed(self) -> None:
        """A worker is free, or there may be another one."""
        self._hand_over()

    def beaten(self, worker: Worker) -> None:
        """The worker's attempt is alive."""
        going = self._by_worker.get(worker.number)
        if going is not None and going.limits is not None:
            going.limits.begin()
            going.limits.beat()

    def answered(self, worker: Worker, body: bytes) -> None:
        """The worker has made its attempt."""
        going = self._by_worker.get(worker.number)
        if going is None or going.decided is not None or self._closed:
            return  # it was stopped: it ends now, and then that is reported
        try:
            reply = decode_reply(going.attempt, body)
        except Exception:  # the task wrote to our socket
            going.decided = failure(going.attempt, "WorkerLost", "the worker's answer is not one")
            self._workers.stop(worker)
            return
        if reply is None:  # it has loaded so many versions that it has forgotten this one
            worker.bundles.clear()
            self._send(going, worker)
            return
        del self._by_worker[worker.number]
        self._tell_lines(going, is_answered=True, reply=reply)
        waiting = max(self._loop.time() - going.since - reply.seconds, 0.0)
        spent = Spent(reply.seconds, reply.cpu_seconds, waiting)
        self._observe("process", going.attempt.dag.dag_id, spent)
        assert reply.outcome is not None  # noqa: S101 - for the type checker
        self._end(going, reply.outcome)
        self._workers.release(worker)

    def ended(self, worker: Worker, end: Exit) -> None:
        """The worker is gone, and its attempt with it."""
        going = self._by_worker.pop(worker.number, None)
        if going is None:
            return
        outcome = going.decided
        if outcome is None:
            self._tell_lines(going, is_answered=False)
            kind, message = explain_exit(end, memory=going.memory, cpu_seconds=self._allowances.cpu_seconds)
            outcome = failure(going.attempt, kind, message)
        if outcome.kind is OutcomeKind.FAILED:
            outcome.traceback = worker.output.tail
        self._end(going, outcome)

    def unable(self, reason: str) -> None:
        """No worker can be made: what waits has failed, and may be tried again later."""
        waiting = list(self._waiting)
        self._waiting.clear()
        for going in waiting:
            outcome = failure(
                going.attempt, "WorkerNotStarted", f"no worker process can be started: {reason}"
            )
            self._end(going, outcome)

    def _tell_lines(self, going: _Going, *, is_answered: bool, reply: Reply | None = None) -> None:
        worker = going.worker
        assert worker is not None  # noqa: S101 - it has one that it writes to
        lines, dropped = worker.output.take(is_answered=is_answered)
        name = f"process:{worker.pid}"
        if reply is not None and reply.lines:
            lines = [*reply.lines, *lines]
            dropped += reply.dropped
        if lines or dropped:
            tell_lines(going.attempt, lines, dropped=dropped, worker=name)
