"""One commit on PostgreSQL: facts are looked up under their locks, the jobs become rows, the rows are written.

Several nodes write this database, so that nothing is assumed from memory:

1. Cursors are locked and compared. The head of the log is locked before identities are looked up, and stays so until
   commit: positions are given in the order of commits, and nobody sees n+1 before n. Commits without events do not
   touch it.
2. Locks are taken in one order (cursors by name, then the head), so that nodes never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import asyncpg
import orjson

from tidemill.storage.commit import (
    Commit,
    Facts,
    Job,
    LookedUp,
    RouteJob,
    StatementJob,
    changes_subscriptions,
    looked_up,
)
from tidemill.storage.postgres.queries import QUERIES

__all__ = ["CHANNEL", "transact"]

CHANNEL = "tidemill"
#: Longest payload of a notification; beyond it the others look for themselves.
_PAYLOAD_BYTES = 7000
#: Queries whose texts may hold what PostgreSQL's texts cannot: NUL.
_FREE_TEXTS = frozenset(
    {
        "insert_dead_letter",
        "insert_disposition",
        "insert_approval",
        "insert_approval_decision",
        "insert_letter_action",
        "put_attempt",
        "set_subscription_state",
        "update_delivery",
    }
)
#: Queries after which the engine has something to do.
_REQUESTS = frozenset({"insert_request", "request_approval", "request_time_out"})
#: Queries that may touch a row once in a statement, with the columns that name it.
_ONCE = {
    "end_tree_run": (0, 1),
    "put_attempt": (0, 1),
    "put_cached": (0,),
    "put_duration": (0, 1),
    "put_past": (0, 1, 2),
    "put_pool": (0,),
    "redeliver": (0, 1),
    "set_subscription_state": (0,),
    "touch_subscription": (0,),
}


async def transact(
    connection: asyncpg.Connection,
    jobs: Sequence[Job],
    numbers: dict[str, int],
    probe: Callable[[str], None] | None = None,
) -> tuple[list[Any], Commit]:
    """Do all jobs in one transaction: the answer of each, an exception for a job that was refused.

    On return everything is on disk. `numbers` are short names of runs that are known already; more are added.
    """
    kinds = sorted({job.kind for job in jobs})
    async with connection.transaction():
        wanted = looked_up(jobs)
        facts = await _facts(connection, wanted, numbers)
        known = set(facts.cursors)
        head = facts.head
        commit = Commit(facts)
        answers = [commit.do(job) for job in jobs]
        for query, rows in commit.rows.items():
            await _write(connection, query, rows)
        await _move_cursors(connection, commit.cursors, known)
        if commit.head != head:
            await connection.execute(QUERIES["set_head"], commit.head)
        if news := _news(jobs, commit, appended=commit.head != head):
            await connection.execute(QUERIES["notify"], news)
        for kind in kinds if probe else ():
            probe(f"{kind}.before_commit")  # type: ignore[misc]
    for kind in kinds if probe else ():
        probe(f"{kind}.after_commit")  # type: ignore[misc]
    return answers, commit


async def _facts(connection: asyncpg.Connection, wanted: LookedUp, numbers: dict[str, int]) -> Facts:
    cursors: dict[str, str] = {}
    if wanted.cursors:
        cursors = dict(await connection.fetch(QUERIES["lock_cursors"], sorted(wanted.cursors)))
    if unknown := wanted.runs - numbers.keys():
        numbers.update(dict(await connection.fetch(QUERIES["run_numbers"], list(unknown))))
    files = set[tuple[Any, ...]]()
    if wanted.files:
        columns = [list(column) for column in zip(*wanted.files, strict=True)]
        files = {tuple(row) for row in await connection.fetch(QUERIES["known_files"], *columns)}
    waited_for = set[str]()
    if wanted.waits:
        waited_for = {key for (key,) in await connection.fetch(QUERIES["waited_for"], sorted(wanted.waits))}
    new_numbers: Iterator[int] = iter(())
    if wanted.new_runs:
        rows = await connection.fetch(QUERIES["new_numbers"], wanted.new_runs)
        new_numbers = iter([row[0] for row in rows])
    head, identities = 0, dict[bytes, tuple[int, bytes]]()
    if wanted.appends:
        head = await connection.fetchval(QUERIES["lock_head"])
        if wanted.keys:
            rows = await connection.fetch(QUERIES["known_events"], wanted.keys)
            identities = {key: (position, digest) for key, position, digest in rows}
    return Facts(
        head=head,
        cursors=cursors,
        numbers=numbers,
        identities=identities,
        files=files,
        waited_for=waited_for,
        next_number=lambda: next(new_numbers),
    )


async def _write(connection: asyncpg.Connection, query: str, rows: list[tuple[Any, ...]]) -> None:
    if not rows:
        return
    if query in _FREE_TEXTS:
        rows = [tuple(_without_nul(value) for value in row) for row in rows]
    match query:
        case "update_run":
            rows = _newest_states(rows)
        case "update_delivery":
            rows = list({(row[4], row[5]): row for row in rows}.values())
        case _ if query in _ONCE:
            rows = list({tuple(row[place] for place in _ONCE[query]): row for row in rows}.values())
    await connection.execute(QUERIES[query], *[list(column) for column in zip(*rows, strict=True)])


def _without_nul(value: Any) -> Any:
    return value.replace("\0", "\\0") if type(value) is str and "\0" in value else value


def _newest_states(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """One row per run: an update that joins two of them would take either."""
    newest: dict[int, tuple[Any, ...]] = {}
    for state, started_at, ended_at, number in rows:
        earlier = newest.get(number)
        if started_at is None and earlier is not None:
            started_at = earlier[1]
        newest[number] = (state, started_at, ended_at, number)
    return list(newest.values())


async def _move_cursors(connection: asyncpg.Connection, cursors: dict[str, str], known: set[str]) -> None:
    for query, names in (
        ("insert_cursor", [name for name in cursors if name not in known]),
        ("update_cursor", [name for name in cursors if name in known]),
    ):
        if names:
            await connection.execute(QUERIES[query], names, [cursors[name] for name in names])


def _news(jobs: Sequence[Job], commit: Commit, *, appended: bool) -> str | None:
    """What other nodes should look at, None when there is nothing for them."""
    news: dict[str, Any] = {}
    if appended:
        news["head"] = commit.head
    if commit.has_hits:
        news["hits"] = True
    deliveries: dict[str, int] = {}
    for job in jobs:
        match job:
            case RouteJob():
                if job.batch.runs:
                    news["runs"] = True
                if job.batch.admission is not None and job.batch.admission.cancels:
                    news["requests"] = True
                for delivery in job.batch.deliveries:
                    name = delivery.subscription
                    deliveries[name] = max(deliveries.get(name, 0), delivery.position)
            case StatementJob() if any(name in _REQUESTS for name, _ in job.statements):
                news["requests"] = True
            case _ if changes_subscriptions(job):
                news["subscriptions"] = True
            case _:
                pass
    if deliveries:
        news["deliveries"] = deliveries
    if not news:
        return None
    text = orjson.dumps(news)
    return text.decode() if len(text) <= _PAYLOAD_BYTES else "{}"
