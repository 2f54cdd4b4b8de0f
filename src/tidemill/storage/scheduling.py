"""Limits of pools and outcomes of the past, on whatever database is behind `Reading` and `Writing`."""

from __future__ import annotations

from collections.abc import Mapping

from tidemill.clock import Clock
from tidemill.storage.commit import StatementJob
from tidemill.storage.contract import PoolSetting
from tidemill.storage.reading import Reading
from tidemill.storage.writing import Writing

__all__ = ["StoredPasts", "StoredPools"]


class StoredPools:
    """See `Pools`."""

    def __init__(self, *, writer: Writing, reading: Reading, clock: Clock) -> None:
        self._writer = writer
        self._reading = reading
        self._clock = clock

    async def all(self) -> list[PoolSetting]:
        """Every pool whose limit was set, by name."""
        return [PoolSetting(*row) for row in await self._reading.rows("pools")]

    async def put(self, name: str, slots: int, *, by: str) -> None:
        """Set the slots of a pool; durable on return."""
        row = (name, slots, by, self._clock.now_us())
        await self._writer.submit(StatementJob((("put_pool", (row,)),)))

    async def reset(self, name: str) -> None:
        """Forget what was set: what the settings say holds again."""
        await self._writer.submit(StatementJob((("drop_pool", ((name,),)),)))


class StoredPasts:
    """See `Pasts`."""

    def __init__(self, *, writer: Writing, reading: Reading) -> None:
        self._writer = writer
        self._reading = reading

    async def before(self, dag: str, place: str) -> str | None:
        """The run of this DAG before that place, runs that were made again left out; None for the first one."""
        rows = await self._reading.rows("run_before", dag, place)
        return next((run_id for (run_id,) in rows), None)

    async def outcomes(self, dag: str, place: str) -> Mapping[str, str]:
        """States by task, of one place."""
        return dict(await self._reading.rows("past_outcomes", dag, place))

    async def mark(self, dag: str, place: str, tasks: list[str]) -> None:
        """Let pass what waits for these tasks of that place; durable on return."""
        rows = tuple((dag, task, place, "marked") for task in tasks)
        await self._writer.submit(StatementJob((("put_past", rows),)))
