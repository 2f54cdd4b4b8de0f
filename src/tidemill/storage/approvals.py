"""Approvals on whatever database is behind `Reading` and `Writing`.

Whatever ends an approval (the last person who was needed, the first who rejected, its time) goes through its one row,
which leaves `open` once: the engine is told by a request in the same transaction, and does what the row says.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import orjson

from tidemill.clock import Clock
from tidemill.storage.commit import StatementJob
from tidemill.storage.contract import Approval, ApprovalState, SaidDecision
from tidemill.storage.feed import Feed
from tidemill.storage.reading import Reading
from tidemill.storage.writing import Writing

__all__ = ["StoredApprovals"]

#: Sorts after every id.
_LAST = "\x7f"
_SECRET = "approvals.secret"  # noqa: S105 - the name of one


class StoredApprovals:
    """See `Approvals`."""

    def __init__(self, *, writer: Writing, reading: Reading, clock: Clock, requests: Feed[None]) -> None:
        """`requests` tells the engine that there are some."""
        self._writer = writer
        self._reading = reading
        self._clock = clock
        self._requests = requests

    async def get(self, approval: str) -> Approval | None:
        return next((_approval(row) for row in await self._reading.rows("approval", approval)), None)

    async def decisions(self, approval: str) -> list[SaidDecision]:
        return [SaidDecision(*row) for row in await self._reading.rows("approval_decisions", approval)]

    async def list(
        self, *, state: str | None, run: str | None, before: str | None, limit: int
    ) -> list[Approval]:
        where = [("state = {}", state), ("run_id = {}", run)]
        rows = await self._reading.rows("list_approvals", before or _LAST, limit, where=where)
        return [_approval(row) for row in rows]

    async def decide(self, approval: str, said: SaidDecision) -> bool:
        row = (approval, said.by, said.decision, said.at, said.via, said.data)
        statements = (
            ("insert_approval_decision", (row,)),
            ("settle_approval", ((approval, said.at),)),
            ("request_approval", ((approval, said.at, said.by),)),
        )
        await self._writer.submit(StatementJob(statements))
        self._requests.put([None])
        found = await self._reading.rows("approval_decision", approval, said.by)
        return [SaidDecision(*one) for one in found] == [said]

    async def time_out(self, asked: Sequence[tuple[str, str]], *, not_before: int = 0) -> None:
        at = max(self._clock.now_us(), not_before)
        rows = tuple((run, task, at) for run, task in asked)
        statements = (("time_out_approval", rows), ("request_time_out", rows))
        await self._writer.submit(StatementJob(statements))
        self._requests.put([None])

    async def secret(self) -> bytes:
        found = await self._reading.rows("meta_of", _SECRET)
        if not found:
            fresh = (_SECRET, secrets.token_hex(32))
            await self._writer.submit(StatementJob((("insert_meta", (fresh,)),)))
            found = await self._reading.rows("meta_of", _SECRET)
        return bytes.fromhex(found[0][0])


def _approval(row: tuple[Any, ...]) -> Approval:
    return Approval(
        id=row[0],
        run_id=row[1],
        dag=row[2],
        task=row[3],
        state=ApprovalState(row[4]),
        title=row[5],
        form=row[6],
        assignees=orjson.loads(row[7]),
        quorum=row[8],
        asked_at=row[9],
        due_at=row[10],
        ended_at=row[11],
    )
