"""What every store must do about pools and about outcomes of the past (see `Pools`, `Pasts`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened
from tests.conformance.values import new_run

from tidemill.clock import SystemClock
from tidemill.storage.contract import PastOutcome, Recorded, RouteBatch, Store


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, SystemClock()) as store:
        yield store


async def begin(store: Store, *ids: str, dag: str = "work", trigger: str = "manual") -> None:
    runs = [new_run(run_id, dag=dag, trigger=trigger) for run_id in ids]
    cursor = int(await store.ledger.cursor("router") or 0)
    await store.runs.route(RouteBatch(expected=cursor, cursor=cursor + 1, runs=runs))


async def test_pool_that_was_set_is_kept_until_it_is_reset(store: Store) -> None:
    await store.pools.put("b", 3, by="ann")
    await store.pools.put("a", 1, by="ann")
    await store.pools.put("b", 0, by="bob")

    assert [(one.name, one.slots, one.by) for one in await store.pools.all()] == [
        ("a", 1, "ann"),
        ("b", 0, "bob"),
    ]
    await store.pools.reset("b")
    await store.pools.reset("unknown")
    assert [one.name for one in await store.pools.all()] == ["a"]


async def test_run_before_is_the_one_that_was_queued_before_in_the_same_dag(store: Store) -> None:
    await begin(store, "r5", "r1")
    await begin(store, "r3", dag="other")
    await begin(store, "r2", trigger="retry")
    await begin(store, "r0")

    assert [await store.pasts.before("work", run) for run in ("r5", "r1", "r0")] == [None, "r5", "r1"]
    assert await store.pasts.before("work", "unknown") is None


async def test_outcomes_are_written_with_the_records_and_replace_each_other(store: Store) -> None:
    await begin(store, "r1", "r2")
    failed = PastOutcome("work", "load", "r1", "failed")
    await store.runs.record([Recorded("r1", 0, 1, b"[]", pasts=[failed])])
    assert await store.pasts.outcomes("work", "r1") == {"load": "failed"}

    succeeded = PastOutcome("work", "load", "r1", "succeeded")
    await store.runs.record([Recorded("r2", 0, 1, b"[]", pasts=[succeeded])])

    assert await store.pasts.outcomes("work", "r1") == {"load": "succeeded"}
    assert await store.pasts.outcomes("work", "r2") == {}


async def test_mark_lets_pass(store: Store) -> None:
    await store.pasts.mark("work", "r1", ["load", "report"])

    assert await store.pasts.outcomes("work", "r1") == {"load": "marked", "report": "marked"}


async def test_only_the_last_places_of_a_task_are_kept(store: Store) -> None:
    ids = [f"r{n:03}" for n in range(60)]
    await begin(store, *ids)
    for run in ids:
        outcomes = [PastOutcome("work", task, run, "succeeded") for task in ("load", "report")]
        await store.runs.record([Recorded(run, 0, 1, b"[]", pasts=outcomes)])

    kept = [run for run in ids if await store.pasts.outcomes("work", run)]

    assert 2 <= len(kept) <= 51
    assert kept == ids[-len(kept) :]
