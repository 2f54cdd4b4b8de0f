"""What waits in admission is written with what routing decides, or not at all, on whatever database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened
from tests.conformance.values import new_run

from tidemill.clock import SystemClock
from tidemill.errors import CursorMoved
from tidemill.events.event import Event
from tidemill.storage.contract import (
    AdmissionChanges,
    Append,
    Disposition,
    DispositionKind,
    HeldEvent,
    NewRun,
    Recorded,
    Remembered,
    RouteBatch,
    RunEnd,
    Store,
)


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, SystemClock()) as store:
        yield store


def held(position: int, trigger: str = "t", *, stage: str = "batch", key: str = '"k"') -> HeldEvent:
    return HeldEvent(position, trigger, stage, key, b'{"n":%d}' % position)


def run(name: str, *, admission: str | None = None) -> NewRun:
    return new_run(
        name, dag="d", version="v", event_source="/s", event_id=name, queued_at=1, admission=admission
    )


async def route(
    store: Store, expected: int, cursor: int, changes: AdmissionChanges | None, **more: object
) -> None:
    batch = RouteBatch(expected=expected, cursor=cursor, admission=changes, **more)  # type: ignore[arg-type]
    await store.runs.route(batch)


async def test_held_events_are_put_moved_and_released(store: Store) -> None:
    await route(store, 0, 3, AdmissionChanges(turn=0, held=[held(1), held(2), held(2, "u"), held(3)]))
    moved = held(2, stage="throttle", key="")

    await route(store, 3, 3, AdmissionChanges(turn=1, held=[moved], released=[(1, "t")]))

    assert await store.admissions.held(after=(0, ""), limit=10) == [moved, held(2, "u"), held(3)]
    assert await store.admissions.held(after=(2, "t"), limit=1) == [held(2, "u")]
    assert await store.admissions.held_at(2) == [moved, held(2, "u")]
    assert await store.admissions.counts() == {("t", "batch"): 1, ("t", "throttle"): 1, ("u", "batch"): 1}
    assert await store.admissions.turn() == 2
    assert await store.keeping.needed_from() == 2


async def test_whoever_decided_on_an_older_state_is_refused_and_writes_nothing(store: Store) -> None:
    await route(store, 0, 1, AdmissionChanges(turn=0, held=[held(1)]))
    late = AdmissionChanges(turn=0, released=[(1, "t")])

    with pytest.raises(CursorMoved) as refused:
        await route(store, 1, 1, late, dispositions=[Disposition(1, "t", DispositionKind.EXPIRED)])

    assert (refused.value.name, refused.value.found) == ("admission", "1")
    assert await store.admissions.held_at(1) == [held(1)]
    assert await store.runs.dispositions(1) == []
    await route(store, 1, 2, None)
    assert await store.admissions.turn() == 1


async def test_memory_is_replaced_recalled_and_forgotten(store: Store) -> None:
    first = [Remembered("t", "rate_limit", str(n), 100 + n, b"[%d]" % n) for n in range(3)]
    await route(store, 0, 1, AdmissionChanges(turn=0, remembered=first))
    newer = Remembered("t", "rate_limit", "0", 200, b"[9]")

    await route(store, 1, 1, AdmissionChanges(turn=1, remembered=[newer], forget_before=102))

    assert await store.admissions.remembered(limit=10) == [newer, first[2]]
    assert await store.admissions.remembered(limit=1) == [newer]
    keys = [
        ("t", "rate_limit", "0"),
        ("t", "rate_limit", "1"),
        ("t", "throttle", "0"),
        ("t", "rate_limit", "2"),
    ]
    assert sorted(await store.admissions.recall(keys), key=lambda one: one.key) == [newer, first[2]]


@pytest.mark.parametrize("key", ['"a"', "", '"\\u0000"', '"ü€"', '"\'"', '["t","x"]'])
async def test_keys_are_any_text(store: Store, key: str) -> None:
    one = Remembered("t", "join", key, 5, b"1")

    await route(store, 0, 1, AdmissionChanges(turn=0, held=[held(1, key=key)], remembered=[one]))

    assert await store.admissions.recall([("t", "join", key)]) == [one]
    assert await store.admissions.held_at(1) == [held(1, key=key)]


async def test_open_runs_are_those_that_hold_keys_and_have_not_ended(store: Store) -> None:
    runs = [run("a", admission='{"slot":"x"}'), run("b"), run("c", admission="{}"), run("d", admission="{}")]
    await route(store, 0, 1, None, runs=runs)
    await store.runs.record([Recorded("c", 0, 5, b"[]", RunEnd("succeeded", 1, 5))])

    assert await store.admissions.open_runs(after="", limit=10) == [
        ("a", "t", '{"slot":"x"}'),
        ("d", "t", "{}"),
    ]
    assert await store.admissions.open_runs(after="a", limit=10) == [("d", "t", "{}")]


async def test_runs_are_asked_to_end_with_what_asks_for_it(store: Store) -> None:
    await route(store, 0, 1, None, runs=[run("a")])
    woken: list[None] = []
    store.runs.new_requests.listen(lambda: woken.append(None))

    await route(store, 1, 1, AdmissionChanges(turn=0, cancels=[("a", "admission of t")], at=7))

    (request,) = await store.runs.requests()
    assert (request.run_id, request.kind, request.by, request.at) == ("a", "cancel", "admission of t", 7)
    assert woken


async def test_events_are_read_by_their_positions_from_memory_or_the_database(store: Store) -> None:
    await store.log.append(Append(events=[Event(id=str(n), source="/s", type="x") for n in range(1, 6)]))

    found = await store.log.at([4, 2, 9])
    store.log._tail.restart(store.log.head)  # type: ignore[attr-defined]
    again = await store.log.at([4, 2, 9])

    assert [logged.event.id for logged in found] == ["2", "4"]
    assert again == found
