"""What every store must do about learned durations (see `Durations`), and about reading on in a history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened

from tidemill.clock import SystemClock
from tidemill.storage.contract import Store, TaskDuration


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, SystemClock()) as store:
        yield store


def one(task: str, at: int, body: bytes = b"[]", *, dag: str = "d") -> TaskDuration:
    return TaskDuration(dag, task, at, body)


async def test_what_was_saved_is_known_by_dag(store: Store) -> None:
    await store.durations.save([one("a", 1), one("b", 2), one("a", 3, dag="other")])

    assert sorted(await store.durations.of("d"), key=lambda row: row.task) == [one("a", 1), one("b", 2)]
    assert await store.durations.of("nobody") == []


async def test_whoever_learned_last_wins(store: Store) -> None:
    await store.durations.save([one("a", 5, b"[1]")])
    await store.durations.save([one("a", 7, b"[2]")])
    await store.durations.save([one("a", 6, b"[3]")])

    assert await store.durations.of("d") == [one("a", 7, b"[2]")]


async def test_the_latest_come_first(store: Store) -> None:
    await store.durations.save([one("a", 1), one("b", 3), one("c", 2)])

    assert [row.task for row in await store.durations.since(2, limit=10)] == ["b", "c"]
    assert [row.task for row in await store.durations.since(0, limit=1)] == ["b"]


async def test_tasks_that_were_not_learned_for_long_are_forgotten(store: Store) -> None:
    await store.durations.save([one("old", 10), one("new", 20)])

    await store.durations.save([one("newer", 30)], forget_before=20)

    assert {row.task for row in await store.durations.of("d")} == {"new", "newer"}


async def test_saving_nothing_changes_nothing(store: Store) -> None:
    await store.durations.save([])

    assert await store.durations.since(0, limit=10) == []


async def test_a_history_that_is_not_there_has_nothing_more(store: Store) -> None:
    assert await store.runs.history_after("nobody", -1, limit=10) == []
