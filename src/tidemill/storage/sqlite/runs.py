"""Runs and their histories on SQLite."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tidemill.clock import Clock
from tidemill.storage.commit import RecordJob, RouteJob, StatementJob, own_event_row
from tidemill.storage.contract import (
    Disposition,
    DispositionKind,
    NewRun,
    Recorded,
    Request,
    RouteBatch,
    RunFilter,
    RunSummary,
)
from tidemill.storage.feed import Feed
from tidemill.storage.rows import run_from_row
from tidemill.storage.sqlite.connection import Session
from tidemill.storage.sqlite.queries import QUERIES
from tidemill.storage.sqlite.writer import Writer

__all__ = ["SqliteRunStore"]

#: Sorts after every id.
_LAST = "\x7f"
#: New runs handed to the engine in memory; more than that it reads from the database.
_HANDED_RUNS = 20_000


class SqliteRunStore:
    """See `RunStore`."""

    def __init__(self, *, writer: Writer, reader: Session, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self.new_runs: Feed[NewRun] = Feed(_HANDED_RUNS)
        self.new_requests: Feed[None] = Feed(1)

    async def route(self, batch: RouteBatch) -> None:
        await self._writer.submit(RouteJob(batch))

    async def record(
        self, rows: Sequence[Recorded], *, fence: Collection[tuple[int, int]] | None = None
    ) -> None:
        events = [own_event_row(event, recorded.at) for recorded in rows for event in recorded.events]
        await self._writer.submit(RecordJob(rows, events))

    async def get(self, run_id: str) -> RunSummary | None:
        rows = await self._reader.execute_fetchall(QUERIES["run"], (run_id,))
        return next((run_from_row(tuple(row)) for row in rows), None)

    async def history(self, run_id: str) -> list[tuple[int, int, bytes]]:
        rows = await self._reader.execute_fetchall(QUERIES["history_of"], (run_id,))
        return [(sequence, at, body) for sequence, at, body in rows]

    # `shards`: one process has this database for itself, and works on all of them.

    async def live(
        self, *, after: str, limit: int, shards: Collection[int] | None = None
    ) -> list[RunSummary]:
        return await self._summaries(QUERIES["live_runs"], (after, limit))

    async def queued(
        self, dag: str, *, after: str, limit: int, shards: Collection[int] | None = None
    ) -> list[RunSummary]:
        return await self._summaries(QUERIES["queued_runs"], (dag, after, limit))

    async def queued_dags(self, shards: Collection[int] | None = None) -> list[str]:
        rows = await self._reader.execute_fetchall(QUERIES["queued_dags"])
        return [row[0] for row in rows]

    async def _summaries(self, query: str, values: Sequence[object]) -> list[RunSummary]:
        rows = await self._reader.execute_fetchall(query, values)
        return [run_from_row(tuple(row)) for row in rows]

    async def request(self, run_id: str, kind: str, by: str = "") -> None:
        row = (run_id, kind, self._clock.now_us(), by)
        await self._writer.submit(StatementJob((("insert_request", (row,)),)))
        self.new_requests.put([None])

    async def requests(self, shards: Collection[int] | None = None) -> list[Request]:
        rows = await self._reader.execute_fetchall(QUERIES["open_requests"])
        return [Request(*row) for row in rows]

    async def answer(self, request_ids: Sequence[int]) -> None:
        rows = tuple((request_id,) for request_id in request_ids)
        await self._writer.submit(StatementJob((("delete_request", rows),)))

    async def dispositions(self, position: int) -> list[Disposition]:
        rows = await self._reader.execute_fetchall(QUERIES["dispositions_of"], (position,))
        return [
            Disposition(position, trigger, DispositionKind(kind), run_id, detail)
            for position, trigger, kind, run_id, detail in rows
        ]

    async def save_version(self, dag: str, version: str, file: str, source: str, graph: bytes) -> None:
        row = (dag, version, file, source, graph)
        await self._writer.submit(StatementJob((("insert_version", (row,)),)))

    async def version(self, dag: str, version: str) -> tuple[str, str, bytes] | None:
        rows = await self._reader.execute_fetchall(QUERIES["version"], (dag, version))
        return next(((file, source, graph) for file, source, graph in rows), None)

    async def counts(self) -> dict[tuple[str, str], int]:
        rows = await self._reader.execute_fetchall(QUERIES["run_counts"])
        return {(dag, state): count for dag, state, count in rows}

    async def list(self, where: RunFilter, *, before: str | None, limit: int) -> list[RunSummary]:
        conditions = [
            ("dag = ?", where.dag),
            ("state = ?", where.state),
            ("trigger = ?", where.trigger),
            ("run_id IN (SELECT run_id FROM dispositions WHERE position = ?)", where.position),
        ]
        wanted = [(text, value) for text, value in conditions if value is not None]
        query = QUERIES["list_runs"].format(conditions="".join(f" AND {text}" for text, _ in wanted))
        values = [before or _LAST, *(value for _, value in wanted), limit]
        return await self._summaries(query, values)
