"""Stages that run on whoever owns their shard: the router, watched folders, schedules, subscriptions.

A stage is made anew each time it begins here, reads back from the database where it stands, and is cancelled the
moment its shard is lost. What it was about to write then is refused by the cursor it compares.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tidemill.clock import Clock
from tidemill.errors import CursorMoved, StoreUnavailable
from tidemill.ids import shard_of
from tidemill.storage.shards import Shards

__all__ = ["KeyedStages"]

logger = logging.getLogger(__name__)

#: Pause before a stage that met another node at its cursor looks again whose it is.
_CONFLICT_SECONDS = 0.2
#: Pause before a stage that the store had no answer for begins again.
_UNAVAILABLE_SECONDS = 1.0


class KeyedStages:
    """Begins and ends stages as shards come and go; `failed(stage, error)` is told of one that ended by itself."""

    def __init__(
        self, shards: Shards, *, clock: Clock, failed: Callable[[str, BaseException | None], None]
    ) -> None:
        self._shards = shards
        self._clock = clock
        self._failed = failed
        self._runs: dict[str, Callable[[], Awaitable[None]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._started = False

    def add(self, stage: str, run: Callable[[], Awaitable[None]]) -> None:
        """`run` works while the shard of `stage` is owned here; what worked under its name before is ended first."""
        self._end(stage)
        self._runs[stage] = run
        if self._started and shard_of(stage) in self._shards.owned:
            self._begin(stage)

    async def remove(self, stage: str) -> None:
        """End a stage for good; return when it has ended."""
        self._runs.pop(stage, None)
        self._end(stage)
        await asyncio.gather(*self._ending_of(stage), return_exceptions=True)

    def start(self) -> None:
        """Begin what is owned, and follow the shards from now on."""
        self._started = True
        self._shards.listen(self._changed)
        self._changed(self._shards.owned, frozenset())

    async def stop(self, prefix: str = "") -> None:
        """End the stages whose names start so, for good."""
        for stage in [name for name in self._runs if name.startswith(prefix)]:
            del self._runs[stage]
            self._end(stage)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def runs(self, stage: str) -> bool:
        """Whether the stage works here now."""
        return stage in self._tasks

    def _changed(self, gained: frozenset[int], lost: frozenset[int]) -> None:
        for stage in list(self._runs):
            shard = shard_of(stage)
            if shard in lost:
                self._end(stage)
            elif shard in gained and stage not in self._tasks:
                self._begin(stage)

    def _begin(self, stage: str) -> None:
        task = asyncio.get_running_loop().create_task(self._run(stage), name=stage)
        self._tasks[stage] = task

    def _end(self, stage: str) -> None:
        task = self._tasks.pop(stage, None)
        if task is not None:
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _run(self, stage: str) -> None:
        run = self._runs[stage]
        await asyncio.gather(*self._ending_of(stage), return_exceptions=True)
        while True:
            try:
                await run()
            except CursorMoved as error:
                if not self._shards.shared:
                    self._failed(stage, error)
                    return
                # Another node was here a moment ago: if it is still ours, go on from where that one stopped.
                logger.warning("stage.overtaken", extra={"stage": stage, "error": str(error)})
                await self._clock.sleep(_CONFLICT_SECONDS)
            except StoreUnavailable as error:
                # Says nothing about the stage, which reads back where it stands as it does when it begins.
                logger.warning("stage.interrupted", extra={"stage": stage, "error": str(error)})
                await self._clock.sleep(_UNAVAILABLE_SECONDS)
            except asyncio.CancelledError:
                if not _is_being_cancelled():  # nobody ended it: a library's own cancellation got out of it
                    self._failed(stage, None)
                raise
            except Exception as error:
                self._failed(stage, error)
                return
            else:
                self._failed(stage, None)
                return

    def _ending_of(self, stage: str) -> list[asyncio.Task[None]]:
        return [task for task in self._ending if task.get_name() == stage]


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
