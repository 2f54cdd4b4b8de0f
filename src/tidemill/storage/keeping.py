"""How much of the past is kept: segments of the log are dropped whole, with what belongs to them.

1. The newest event is never dropped: positions go on from it.
2. Identities of dropped events are remembered for as long as duplicates count, in the transaction that drops them.
3. Everything here may be done twice, by one node after the other.
"""

from __future__ import annotations

from typing import Any

from tidemill.storage.claims import EventData
from tidemill.storage.commit import ROUTER_CURSOR, StatementJob
from tidemill.storage.contract import Became, Disposition, DispositionKind, Ledger, Segment
from tidemill.storage.reading import Reading
from tidemill.storage.writing import Writing

__all__ = ["StoredKeeping"]

#: Runs dropped in one transaction, each with its history: who writes meanwhile waits for one at most.
_RUNS_PAGE = 200


class StoredKeeping:
    """See `Keeping`."""

    def __init__(
        self, *, writer: Writing, reading: Reading, ledger: Ledger, data: EventData | None = None
    ) -> None:
        self._writer = writer
        self._reading = reading
        self._ledger = ledger
        self._data = data

    async def oldest(self) -> tuple[int, int] | None:
        """(position, received at) of the oldest event; None when the log is empty."""
        rows = await self._reading.rows("extent")
        return (rows[0][0], rows[0][1]) if rows else None

    async def needed_from(self) -> int:
        """The lowest position that somebody still needs: router, deliveries, runs that have not ended, admission."""
        routed = int(await self._ledger.cursor(ROUTER_CURSOR) or 0)
        needed = [routed + 1]
        for query in ("first_pending", "first_open", "first_held"):
            ((position,),) = await self._reading.rows(query)
            if position is not None:
                needed.append(position)
        return min(needed)

    async def segment(self, first: int, last: int) -> Segment | None:
        """The events from `first` to `last`; None where there are none."""
        ((newest, received_at, size, _),) = await self._reading.rows("segment", first, last)
        return None if newest is None else Segment(first, newest, received_at, int(size))

    async def size(self, after: int, until: int) -> int:
        """Bytes of the bodies of events with position > `after` and <= `until`."""
        ((size,),) = await self._reading.rows("log_bytes", after, until)
        return int(size)

    async def undelivered(self, first: int, last: int) -> list[tuple[str, int, int]]:
        """(subscription, position, attempts) of pending deliveries of the events from `first` to `last`."""
        return [(row[0], row[1], row[2]) for row in await self._reading.rows("undelivered", first, last)]

    async def became(self, first: int, last: int) -> list[Became]:
        """What became of the events from `first` to `last`."""
        rows = await self._reading.rows("became", first, last)
        return [
            Became(Disposition(position, trigger, DispositionKind(kind), run, detail), dag, parameters)
            for position, trigger, kind, run, detail, dag, parameters in rows
        ]

    async def drop(self, first: int, last: int, *, remember_since: int, remember_above: int) -> None:
        """Drop the events from `first` to `last` with their dispositions and deliveries; durable on return.

        A delivery that has become pending again (redriven) stays until it is done with.

        Their identities are remembered where received at or after `remember_since` or at or above that position.
        """
        span = ((first, last),)
        await self._writer.submit(
            StatementJob(
                (
                    ("remember_identities", ((first, last, remember_since, remember_above),)),
                    ("drop_events", span),
                    ("drop_dispositions", span),
                    ("drop_deliveries", span),
                )
            )
        )

    async def drop_runs(self, *, below: int, ended_before: int) -> int:
        """Drop runs, with their histories, of events below that position that ended before that time; how many."""
        dropped, number = 0, 0
        while True:
            page = await self._reading.rows("runs_by_number", number, _RUNS_PAGE)
            old = [row for row in page if row[1] < below and row[2] is not None and row[2] < ended_before]
            if old:
                await self._forget_results(frozenset(row[3] for row in old))
                numbers, names = [(row[0],) for row in old], [(row[3],) for row in old]
                statements = [("drop_history", numbers), ("drop_runs", numbers), ("drop_cached", names)]
                statements += [("drop_holds", names), ("drop_quarantined", names), ("drop_approvals", names)]
                await self._writer.submit(StatementJob(statements))
                dropped += len(old)
            # Runs are numbered in the order of their events: behind the first young one all are young.
            if len(page) < _RUNS_PAGE or page[-1][1] >= below:
                return dropped
            number = page[-1][0]

    async def _forget_results(self, runs: frozenset[str]) -> None:
        """Delete results kept beside the database of runs that are about to be dropped, but for those held by others.

        Before their rows, so that a stop in between leaves rows, which are dropped again, and no forgotten results.
        """
        if self._data is None:
            return
        held_by_them = frozenset(row[0] for row in await self._reading.rows("held_by", runs)) - runs
        needed: set[str] = set()
        for held, holder, is_there in await self._reading.rows("holds", runs | held_by_them):
            if holder not in runs or (is_there and held not in runs):
                needed.add(held)
        await self._data.forget_results(sorted((runs | held_by_them) - needed))

    async def forget(self, *, before: int, identities_before: int, identities_below: int) -> None:
        """Forget dead letters and cached results older than `before`, and identities older than both of the others.

        Durable on return. And definitions that no event in the log was routed under.
        """
        statements: list[tuple[str, list[tuple[Any, ...]]]] = [
            ("drop_dead_letters", [(before,)]),
            ("drop_identities", [(identities_before, identities_below)]),
            ("drop_routed_under", [(1,)]),
            ("drop_definitions", [(1,)]),
            ("prune_cached", [(before,)]),
        ]
        await self._writer.submit(StatementJob(statements))

    async def forget_data(self, *, before: int) -> int:
        """Delete data kept beside the log of days that ended a day or more before that time; how many days.

        Nothing in the log, and nobody who reads an archive, may need data that came before that time.
        """
        return 0 if self._data is None else await self._data.forget(before)
