"""The bare floor: the rows that a run has just written, written again in the same batches by aiosqlite alone.

`Recording` listens to the store's transactions while the benchmark runs; `replay` writes what they wrote into a fresh
database, one commit per commit, with `synchronous=FULL`, and tells how long that took.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidemill.storage.commit import Commit
from tidemill.storage.sqlite.connection import Session, insert_rows, open_writer
from tidemill.storage.sqlite.migrate import migrate
from tidemill.storage.sqlite.queries import QUERIES
from tidemill.storage.sqlite.transaction import Transaction

__all__ = ["Recording", "bare_commits", "chains", "recording", "replay"]

Batch = dict[str, list[tuple[Any, ...]]]
Recording = list[Batch]


@contextmanager
def recording() -> Iterator[Recording]:
    """Keep the rows of every commit made inside the block."""
    kept: Recording = []
    write = Transaction._write

    def write_and_keep(self: Transaction, commit: Commit) -> None:
        kept.append({**commit.rows, "upsert_cursor": list(commit.cursors.items())})
        write(self, commit)

    Transaction._write = write_and_keep  # type: ignore[method-assign]
    try:
        yield kept
    finally:
        Transaction._write = write  # type: ignore[method-assign]


async def replay(batches: Recording, path: Path) -> float:
    """Seconds that the same rows in the same batches cost with no engine around them."""
    path.unlink(missing_ok=True)
    session = await open_writer(path)
    await session.call(migrate, session.raw)
    begun = time.perf_counter()
    for batch in batches:
        await session.call(_commit, session, batch)
    seconds = time.perf_counter() - begun
    await session.close()
    return seconds


def _commit(session: Session, batch: Batch) -> None:
    connection = session.raw
    connection.execute("BEGIN IMMEDIATE")
    for query, rows in batch.items():
        statement = QUERIES[query]
        if statement.endswith("VALUES"):
            insert_rows(connection, statement, rows)
        elif rows:
            connection.executemany(statement, rows)
    connection.execute("COMMIT")


async def chains(batches: Recording, path: Path, *, in_flight: int) -> float:
    """Seconds that asyncio and aiosqlite need for the same rows, each waited for by the coroutine that made it.

    `in_flight` coroutines make one history row after the other and await the group commit that holds it; the other
    rows of the run go along in equal shares. Nothing is decided, matched, encoded or called.
    """
    path.unlink(missing_ok=True)
    session = await open_writer(path)
    await session.call(migrate, session.raw)
    rows = [row for batch in batches for row in batch.get("insert_history", ())]
    others = [batch for batch in batches if set(batch) - {"insert_history", "upsert_cursor"}]
    loop = asyncio.get_running_loop()
    waiting: list[tuple[tuple[Any, ...], asyncio.Future[None]]] = []
    source = iter(rows)

    async def chain() -> None:
        for row in source:
            done = loop.create_future()
            waiting.append((row, done))
            await done

    begun = time.perf_counter()
    coroutines = [loop.create_task(chain()) for _ in range(in_flight)]
    await asyncio.sleep(0)
    while waiting:
        taken = waiting[:]
        waiting.clear()
        batch: Batch = {"insert_history": [row for row, _ in taken]}
        if others:
            batch = {
                **{query: rows for query, rows in others.pop(0).items() if query != "insert_history"},
                **batch,
            }
        await session.call(_commit, session, batch)
        for _, done in taken:
            done.set_result(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    while others:
        batch = others.pop(0)
        await session.call(_commit, session, {q: rows for q, rows in batch.items() if q != "insert_history"})
    await asyncio.gather(*coroutines)
    seconds = time.perf_counter() - begun
    await session.close()
    return seconds


async def bare_commits(path: Path, count: int) -> list[float]:
    """Seconds of each of `count` commits of one row, one after the other."""
    session = await open_writer(path)
    await session.call(migrate, session.raw)
    found = []
    for number in range(count):
        begun = time.perf_counter()
        await session.call(_commit, session, {"upsert_cursor": [("bare", str(number))]})
        found.append(time.perf_counter() - begun)
    await session.close()
    return found
