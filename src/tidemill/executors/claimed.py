"""Local attempts and results that are kept elsewhere: large ones are put there, and fetched before they are used.

1. A result is put away before its outcome is reported, and so before anything is recorded: what is cut off in between
   leaves a file that nothing refers to, in the folder of its run, which goes with the run.
2. What is fetched has the size and hash that the reference says, or the attempt that needs it has failed. A reference
   to a place that is not this store's is never handed to a task as if it were the value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from tidemill.dag.binding import result_indexes
from tidemill.errors import TaskFailed
from tidemill.executors.remote.claims import LARGEST, ClaimFailure, Claims
from tidemill.executors.remote.outcomes import failure
from tidemill.executors.result import cancelled, too_large
from tidemill.executors.threads import Threads
from tidemill.runs.arguments import make_arguments
from tidemill.runs.attempts import Attempt, Executor, Outcome, OutcomeKind
from tidemill.runs.claims import claim_of, kept_whole

__all__ = ["ClaimedExecutor"]

_WORKERS = 4


class ClaimedExecutor:
    """See `Executor`: `inner`, with arguments made for the attempts that bring inputs."""

    def __init__(
        self,
        inner: Executor,
        claims: Claims | None,
        *,
        above: int | None = None,
        max_result_bytes: int = LARGEST,
    ) -> None:
        """Without `claims` every result is what it is.

        With them, results of more bytes than `above` are put there; those that stay whole (`kept_whole`) have
        `max_result_bytes` at most, which `inner` does not look at then.
        """
        self.inner = inner
        self._claims = claims
        self._above = above if claims is not None else None
        self._max_result_bytes = max_result_bytes
        self._putting: set[asyncio.Task[None]] = set()
        self._threads: Threads[dict[int, Any]] = Threads(_WORKERS, name="claims")
        self._put_threads: Threads[bytes] = Threads(_WORKERS, name="claims-put")
        self._fetching: dict[tuple[str, int], asyncio.Task[None]] = {}
        #: Attempts that were asked to stop while something was fetched for them.
        self._asked: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        if self._above is not None:
            report = partial(self._keep, attempt, self._above, report)
        if attempt.inputs is None:
            self.inner.start(attempt, report)
            return
        given = attempt.inputs.results
        reads = attempt.node.reads or result_indexes((attempt.node.args, attempt.node.kwargs))
        texts = {index: given.get(index, b"null") for index in reads}
        unreachable = self._unreachable(attempt, texts.values())
        if unreachable is not None:
            report(failure(attempt, "ClaimLost", unreachable))
        elif self._claims is None or not any(self._claims.read(text) for text in texts.values()):
            self._begin(attempt, {index: orjson.loads(text) for index, text in texts.items()}, report)
        elif not self._closed:
            key = (attempt.run_id, attempt.index)
            self._fetching[key] = self._loop.create_task(self._fetch(attempt, texts, report))

    def cancel(self, run_id: str, index: int) -> None:
        fetching = self._fetching.get((run_id, index))
        if fetching is not None:
            self._asked.add(fetching)  # what is fetched is fetched, and not used
        else:
            self.inner.cancel(run_id, index)

    async def close(self) -> None:
        self._closed = True
        fetching = list(self._fetching.values())
        for task in fetching:
            task.cancel()
        putting = list(self._putting)
        for task in putting:
            task.cancel()
        await asyncio.gather(*fetching, *putting, return_exceptions=True)
        self._threads.close()
        self._put_threads.close()
        await self.inner.close()

    # ── results that go elsewhere ──

    def _keep(
        self, attempt: Attempt, above: int, report: Callable[[Outcome], None], outcome: Outcome
    ) -> None:
        """An attempt has ended: a large result is put away before anybody hears of it."""
        size = len(outcome.result)
        if outcome.kind is not OutcomeKind.SUCCEEDED or size <= above:
            report(outcome)
        elif attempt.node.index in kept_whole(attempt.dag):
            most = self._max_result_bytes
            report(outcome if size <= most else too_large(attempt, size, most))
        elif not self._closed:
            task = self._loop.create_task(self._put(attempt, report, outcome))
            self._putting.add(task)
            task.add_done_callback(self._putting.discard)

    async def _put(self, attempt: Attempt, report: Callable[[Outcome], None], outcome: Outcome) -> None:
        claims = self._claims
        assert claims is not None  # noqa: S101 - nothing is put anywhere without
        put = partial(claims.put, attempt.run_id, attempt.index, attempt.number, outcome.result)
        try:
            outcome.result = await asyncio.wrap_future(self._put_threads.submit(put))
        except ClaimFailure as error:
            outcome = failure(attempt, error.kind, str(error), permanent=error.permanent)
        if not self._closed:
            report(outcome)

    # ── results that are elsewhere ──

    def _unreachable(self, attempt: Attempt, texts: Iterable[bytes]) -> str | None:
        """Why a result that is kept elsewhere cannot be had from here, where that is so."""
        claims = self._claims
        if claims is None and attempt.node.is_deferred:
            return None  # there never was a store: what looks like a reference is a value
        for text in texts:
            claim = claim_of(text)
            if claim is not None and (claims is None or claims.read(text) is None):
                return f"{claim.url} is not in the store that claim_check_url names"
        return None

    async def _fetch(
        self, attempt: Attempt, texts: dict[int, bytes], report: Callable[[Outcome], None]
    ) -> None:
        claims = self._claims
        assert claims is not None  # noqa: S101 - there is something to fetch
        key = (attempt.run_id, attempt.index)
        own = asyncio.current_task()
        assert own is not None  # noqa: S101 - for the type checker
        outcome: Outcome | None = None
        results: dict[int, Any] = {}
        try:
            results = await asyncio.wrap_future(
                self._threads.submit(
                    lambda: {index: orjson.loads(claims.load(text)) for index, text in texts.items()}
                )
            )
        except ClaimFailure as error:
            outcome = failure(attempt, error.kind, str(error), permanent=error.permanent)
        if self._fetching.get(key) is own:
            del self._fetching[key]
        if self._closed:
            return
        if own in self._asked:
            self._asked.discard(own)
            outcome = cancelled(attempt)
        if outcome is None:
            self._begin(attempt, results, report)
        else:
            report(outcome)

    def _begin(self, attempt: Attempt, results: dict[int, Any], report: Callable[[Outcome], None]) -> None:
        inputs = attempt.inputs
        assert inputs is not None  # noqa: S101 - only such attempts get here
        try:
            args, kwargs = make_arguments(
                attempt.run_id,
                attempt.dag,
                node=attempt.node,
                number=attempt.number,
                results=results,
                parameters=attempt.dag.parameters.load(inputs.parameters),
                event=inputs.event,
                task_id=attempt.task_id,
                item=inputs.item,
                spawned=attempt.spawned,
            )
        except TaskFailed as error:
            report(failure(attempt, error.error_type, error.message, permanent=True))
        except Exception as error:  # types of the user's own parameters may raise anything
            report(failure(attempt, type(error).__name__, str(error), permanent=True))
        else:
            self.inner.start(replace(attempt, args=args, kwargs=kwargs, inputs=None), report)
