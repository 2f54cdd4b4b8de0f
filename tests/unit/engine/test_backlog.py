"""Queued runs on their way to the engine: each comes out once, whichever way it came in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tidemill.clock import SystemClock
from tidemill.engine.backlog import Backlog
from tidemill.events.event import Event
from tidemill.storage.contract import Append, NewRun, RouteBatch, Store
from tidemill.testing.databases import open_own


@pytest.fixture
async def store(tmp_path: Path, tidemill_database_url: str | None) -> AsyncIterator[Store]:
    opened = await open_own(tmp_path / "tidemill.db", tidemill_database_url, clock=SystemClock())
    yield opened
    await opened.close()


def _run(position: int) -> NewRun:
    return NewRun(
        run_id=f"run-{position:03}",
        dag="orders",
        version="1",
        trigger="order",
        position=position,
        event_source="/shop",
        event_id=str(position),
        parameters=b"{}",
        queued_at=0,
        correlation_id="",
        hop_count=0,
    )


async def _route(store: Store, first: int, last: int) -> list[NewRun]:
    """Commit queued runs for the events at these positions."""
    events = [Event(id=str(each), source="/shop", type="order") for each in range(first, last + 1)]
    await store.log.append(Append(events=events))
    runs = [_run(position) for position in range(first, last + 1)]
    await store.runs.route(RouteBatch(expected=first - 1, cursor=last, runs=runs))
    return runs


async def _take_all(backlog: Backlog) -> list[str]:
    taken: list[str] = []
    while (run := await backlog.take("orders", taken)) is not None:
        taken.append(run.run_id)
    return taken


async def test_backlog_yields_a_run_once_that_was_read_and_is_handed_over_afterwards(store: Store) -> None:
    backlog = Backlog(store.runs, store.shards)
    await _route(store, 1, 2)
    await backlog.look_back()
    late = await _route(store, 3, 4)

    first = await _take_all(backlog)
    backlog.add(late)
    second = await _take_all(backlog)

    assert first == ["run-001", "run-002", "run-003", "run-004"]
    assert second == []


async def test_backlog_yields_runs_handed_over_after_a_reading(store: Store) -> None:
    backlog = Backlog(store.runs, store.shards)
    await _route(store, 1, 2)
    await backlog.look_back()
    await _take_all(backlog)

    backlog.add(await _route(store, 3, 4))

    assert await _take_all(backlog) == ["run-003", "run-004"]


async def test_backlog_yields_a_run_of_an_older_event_that_started_later(store: Store) -> None:
    backlog = Backlog(store.runs, store.shards)
    await _route(store, 1, 4)
    await backlog.look_back()
    await _take_all(backlog)
    late = replace(_run(2), run_id="run-002-late")  # its event waited in admission
    await store.runs.route(RouteBatch(expected=4, cursor=4, runs=[late]))

    backlog.add([late])

    assert await _take_all(backlog) == ["run-002-late"]


@pytest.mark.parametrize("forget_first", [True, False], ids=["before", "after"])
async def test_backlog_does_not_yield_a_forgotten_run_whenever_it_is_handed_over(
    store: Store, forget_first: bool
) -> None:
    backlog = Backlog(store.runs, store.shards)
    runs = await _route(store, 1, 2)
    summary = await store.runs.get("run-001")
    assert summary is not None
    steps: list[Callable[[], object]] = [
        lambda: backlog.forget(summary),
        lambda: backlog.add(runs),
    ]

    for step in steps if forget_first else reversed(steps):
        step()

    assert await _take_all(backlog) == ["run-002"]
