"""Which sources are paused: durable, known to every node, and carried out by ending and beginning a source's `run`.

Rules:
1. A pause outlives the process and holds on every node (`storage.paused`).
2. Pausing cancels `run`. That loses nothing (rule 2 of `sources.contract`): files are found again by the next scan,
   Kafka's partitions go to other members or wait at their cursor, missed ticks are up to the misfire policy.
3. Sources that are pushed to ask `is_paused` and refuse with `Retry-After`: nothing is taken and dropped.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

from tidemill.clock import Clock, to_us
from tidemill.sources.contract import Source, SourceState, SourceStatus
from tidemill.storage.contract import EventLog, Ledger
from tidemill.storage.paused import PausedKind, PausedNames

__all__ = ["PausableSource", "SourcePauses"]


class SourcePauses(PausedNames):
    """The pauses of all sources; `load` before the first question."""

    def __init__(self, log: EventLog, ledger: Ledger, *, clock: Clock) -> None:
        super().__init__(log, ledger, kind=PausedKind.SOURCE, clock=clock)

    def shown(self, status: SourceStatus) -> SourceStatus:
        """The status as people see it: a paused source is paused, whatever it was doing."""
        paused_at = self.paused_at(status.name)
        if paused_at is None:
            return status
        at = to_us(datetime.fromisoformat(paused_at))
        return replace(status, state=SourceState.PAUSED, error="", paused_at=at)


class PausableSource:
    """A source that runs while it is not paused (a `Source` itself)."""

    def __init__(self, source: Source, pauses: SourcePauses) -> None:
        self.name = source.name
        self.on_every_node = source.on_every_node
        self._source = source
        self._pauses = pauses

    def status(self) -> SourceStatus:
        """How it is doing now."""
        return self._pauses.shown(self._source.status())

    async def run(self) -> None:
        """Run the source whenever it is not paused, until cancelled; raises what the source raises."""
        while True:
            await self._pauses.wait_until(self.name, paused=False)
            if await self._run_until_paused():
                return

    async def _run_until_paused(self) -> bool:
        """True when the source ended by itself."""
        loop = asyncio.get_running_loop()
        running = loop.create_task(self._source.run(), name=f"source {self.name}")
        paused = loop.create_task(self._pauses.wait_until(self.name, paused=True))
        try:
            await asyncio.wait({running, paused}, return_when=asyncio.FIRST_COMPLETED)
            ended = running.done()
        finally:
            paused.cancel()
            running.cancel()
            await asyncio.wait({running, paused})
        if ended or not running.cancelled():
            running.result()  # its error, where it has one
        return ended
