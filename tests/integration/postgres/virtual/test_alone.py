"""A harness on PostgreSQL: it is the only node, its session may go, and its time waits for the database."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from tidemill import Context, dag, task
from tidemill.storage.postgres import PostgresStore
from tidemill.testing.harness import Harness, MakeHarness

pytestmark = pytest.mark.postgres

_PATIENCE = 20


async def test_session_that_is_lost_takes_nothing_with_it(
    tidemill_harness: MakeHarness, tidemill_database_url: str
) -> None:
    go = asyncio.Event()

    @task
    async def wait(context: Context) -> int:
        await go.wait()
        return context.attempt

    @dag
    def work() -> Any:
        return wait()

    async with tidemill_harness(dags=[work]) as harness:
        run_id = await harness.start("work")
        await harness.run_until_idle(attempts=False)
        store = _store(harness)
        lost = store.session
        connection = await asyncpg.connect(tidemill_database_url)
        await connection.execute(f"SELECT pg_terminate_backend({lost})")
        await connection.close()
        async with asyncio.timeout(_PATIENCE):
            while store.session in (None, lost):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.005)
        go.set()
        await harness.run_until_done()

        assert (await harness.run(run_id)).result("wait") == 1
        assert store.refused_records == 0


async def test_virtual_time_stands_still_while_a_commit_is_on_its_way(
    tidemill_harness: MakeHarness, tidemill_database_url: str
) -> None:
    @task(retries=1, retry_delay=50)
    async def flaky(context: Context) -> int:
        if context.attempt == 1:
            raise ValueError
        return context.attempt

    @dag
    def work() -> Any:
        return flaky()

    async with tidemill_harness(dags=[work]) as harness:
        begun = harness.clock.now_us()
        connection = await asyncpg.connect(tidemill_database_url)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE history IN EXCLUSIVE MODE")
        run_id = await harness.start("work")
        advancing = asyncio.ensure_future(harness.advance(100))
        waiting = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = {_store(harness).session}"
        async with asyncio.timeout(_PATIENCE):
            while not await connection.fetchval(waiting):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.005)
        assert harness.clock.now_us() == begun
        await transaction.rollback()
        await connection.close()
        await advancing

        run = await harness.run(run_id)
        assert (run.state, run.summary.started_at) == ("succeeded", begun)
        assert run.summary.ended_at is not None
        assert begun + 30_000_000 < run.summary.ended_at < begun + 100_000_000


def _store(harness: Harness) -> PostgresStore:
    store = harness.store
    assert isinstance(store, PostgresStore)
    return store
