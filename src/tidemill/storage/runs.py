"""Runs and their histories, on whatever database is behind `Reading` and `Writing`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from tidemill.clock import Clock
from tidemill.storage.claims import EventData
from tidemill.storage.commit import RecordJob, RouteJob, StatementJob, event_row, own_event_row
from tidemill.storage.contract import (
    Disposition,
    DispositionKind,
    KeptVersion,
    NewRun,
    Recorded,
    Request,
    RouteBatch,
    RunFilter,
    RunSummary,
)
from tidemill.storage.feed import Feed
from tidemill.storage.reading import Condition, Reading
from tidemill.storage.rows import run_from_row
from tidemill.storage.writing import Writing

__all__ = ["StoredRuns"]

#: Sorts after every id.
_LAST = "\x7f"
#: New runs handed to the engine in memory; more than that it reads from the database.
_HANDED_RUNS = 20_000


class StoredRuns:
    """See `RunStore`."""

    def __init__(
        self, *, writer: Writing, reading: Reading, clock: Clock, data: EventData | None = None
    ) -> None:
        self._writer = writer
        self._reading = reading
        self._clock = clock
        self._data = data
        self.new_runs: Feed[NewRun] = Feed(_HANDED_RUNS)
        self.new_requests: Feed[None] = Feed(1)

    async def route(self, batch: RouteBatch) -> None:
        if self._data is not None and self._data.puts and batch.derived:
            rows = await self._data.rows([event for event, _ in batch.derived], self._clock)
            for row, (_, at) in zip(rows, batch.derived, strict=True):
                row.received_at = at
        else:
            rows = [event_row(event, at) for event, at in batch.derived]
        await self._writer.submit(RouteJob(batch, rows))

    async def record(
        self, rows: Sequence[Recorded], *, fence: Collection[tuple[int, int]] | None = None
    ) -> None:
        events = [own_event_row(event, recorded.at) for recorded in rows for event in recorded.events]
        await self._writer.submit(RecordJob(rows, events, fence))

    async def get(self, run_id: str) -> RunSummary | None:
        return next(iter(await self._summaries("run", run_id)), None)

    async def history(self, run_id: str) -> list[tuple[int, int, bytes]]:
        rows = await self._reading.rows("history_of", run_id)
        return [(sequence, at, body) for sequence, at, body in rows]

    async def history_after(self, run_id: str, sequence: int, *, limit: int) -> list[tuple[int, int, bytes]]:
        rows = await self._reading.rows("history_after", run_id, sequence, limit)
        return [(sequence, at, body) for sequence, at, body in rows]

    async def histories(self, run_ids: Collection[str]) -> dict[str, list[tuple[int, int, bytes]]]:
        found: dict[str, list[tuple[int, int, bytes]]] = {run_id: [] for run_id in run_ids}
        for run_id, sequence, at, body in await self._reading.rows("histories_of", frozenset(run_ids)):
            found[run_id].append((sequence, at, body))
        return found

    async def live(
        self, *, after: str, limit: int, shards: Collection[int] | None = None
    ) -> list[RunSummary]:
        return await self._summaries("live_runs", after, limit, _set(shards))

    async def queued(
        self, dag: str, *, after: str, limit: int, shards: Collection[int] | None = None
    ) -> list[RunSummary]:
        return await self._summaries("queued_runs", dag, after, limit, _set(shards))

    async def queued_dags(self, shards: Collection[int] | None = None) -> list[str]:
        return [row[0] for row in await self._reading.rows("queued_dags", _set(shards))]

    async def _summaries(self, query: str, *values: Any, where: Sequence[Condition] = ()) -> list[RunSummary]:
        return [run_from_row(row) for row in await self._reading.rows(query, *values, where=where)]

    async def request(self, run_id: str, kind: str, by: str = "") -> None:
        row = (run_id, kind, self._clock.now_us(), by)
        await self._writer.submit(StatementJob((("insert_request", (row,)),)))
        self.new_requests.put([None])

    async def requests(self, shards: Collection[int] | None = None) -> list[Request]:
        rows = await self._reading.rows("open_requests", _set(shards))
        return [Request(*row) for row in rows]

    async def answer(self, request_ids: Sequence[int]) -> None:
        rows = tuple((request_id,) for request_id in request_ids)
        await self._writer.submit(StatementJob((("delete_request", rows),)))

    async def dispositions(self, position: int) -> list[Disposition]:
        rows = await self._reading.rows("dispositions_of", position)
        return [
            Disposition(position, trigger, DispositionKind(kind), run_id, detail)
            for position, trigger, kind, run_id, detail in rows
        ]

    async def save_version(
        self,
        dag: str,
        version: str,
        file: str,
        source: str,
        graph: bytes,
        *,
        modules: Mapping[str, str] | None = None,
    ) -> None:
        digests = {} if modules is None else {path: _digest(text) for path, text in modules.items()}
        kept = None if modules is None else orjson.dumps(digests, option=orjson.OPT_SORT_KEYS)
        row = (dag, version, file, source, graph, kept, self._clock.now_us())
        texts = {digests[path]: text for path, text in (modules or {}).items()}
        statements = [("insert_module", tuple(texts.items()))] if texts else []
        await self._writer.submit(StatementJob((*statements, ("insert_version", (row,)))))

    async def version(self, dag: str, version: str) -> tuple[str, str, bytes] | None:
        rows = await self._reading.rows("version", dag, version)
        return next(((file, source, graph) for file, source, graph in rows), None)

    async def modules(self, dag: str, version: str) -> dict[str, str] | None:
        (kept,) = next(iter(await self._reading.rows("modules_of", dag, version)), (None,))
        if kept is None:
            return None
        digests: dict[str, str] = orjson.loads(kept)
        texts: dict[str, str] = {}
        if digests:
            rows = await self._reading.rows("module_texts", frozenset(digests.values()))
            texts = dict(rows)
        return {path: texts[digest] for path, digest in digests.items()}

    async def move_queued(self, run_id: str, version: str) -> None:
        await self._writer.submit(StatementJob((("move_queued", ((version, run_id),)),)))

    async def versions(self, dag: str) -> list[KeptVersion]:
        return [KeptVersion(*row) for row in await self._reading.rows("versions_of", dag)]

    async def counts(self) -> dict[tuple[str, str], int]:
        rows = await self._reading.rows("run_counts")
        return {(dag, state): count for dag, state, count in rows}

    async def open_counts(self, shards: Collection[int] | None = None) -> dict[tuple[int, str], int]:
        rows = await self._reading.rows("open_counts", _set(shards))
        return {(shard, state): count for shard, state, count in rows}

    async def list(self, where: RunFilter, *, before: str | None, limit: int) -> list[RunSummary]:
        conditions = [
            ("dag = {}", where.dag),
            ("state = {}", where.state),
            ("trigger = {}", where.trigger),
            ("run_id IN (SELECT run_id FROM dispositions WHERE position = {})", where.position),
            ("run_id IN (SELECT run_id FROM quarantined WHERE at >= {})", 0 if where.quarantined else None),
        ]
        return await self._summaries("list_runs", before or _LAST, limit, where=conditions)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _set(shards: Collection[int] | None) -> frozenset[int] | None:
    return None if shards is None else frozenset(shards)
