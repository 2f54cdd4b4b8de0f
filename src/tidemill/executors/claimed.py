"""Local attempts whose arguments are results of remote tasks: what is kept elsewhere is fetched before the call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from tidemill.errors import TaskFailed
from tidemill.executors.remote.claims import ClaimFailure, Claims
from tidemill.executors.remote.outcomes import failure
from tidemill.executors.result import cancelled
from tidemill.executors.threads import Threads
from tidemill.runs.arguments import make_arguments
from tidemill.runs.attempts import Attempt, Executor, Outcome

__all__ = ["ClaimedExecutor"]

_WORKERS = 4


class ClaimedExecutor:
    """See `Executor`: `inner`, with arguments made for the attempts that bring inputs."""

    def __init__(self, inner: Executor, claims: Claims | None) -> None:
        """Without `claims` every result is what it is."""
        self.inner = inner
        self._claims = claims
        self._threads: Threads[dict[int, Any]] = Threads(_WORKERS, name="claims")
        self._fetching: dict[tuple[str, int], asyncio.Task[None]] = {}
        #: Attempts that were asked to stop while something was fetched for them.
        self._asked: set[asyncio.Task[None]] = set()
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def start(self, attempt: Attempt, report: Callable[[Outcome], None]) -> None:
        if attempt.inputs is None:
            self.inner.start(attempt, report)
            return
        texts = {index: attempt.inputs.results[index] for index in attempt.node.reads}
        if self._claims is None or not any(self._claims.read(text) for text in texts.values()):
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
        await asyncio.gather(*fetching, return_exceptions=True)
        self._threads.close()
        await self.inner.close()

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
            )
        except TaskFailed as error:
            report(failure(attempt, error.error_type, error.message, permanent=True))
        except Exception as error:  # types of the user's own parameters may raise anything
            report(failure(attempt, type(error).__name__, str(error), permanent=True))
        else:
            self.inner.start(replace(attempt, args=args, kwargs=kwargs, inputs=None), report)
