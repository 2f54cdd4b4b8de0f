"""Derived events go into the log in the transaction that routes their cause, once, whatever is routed again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conformance.databases import DATABASES, opened

from tidemill.errors import CursorMoved
from tidemill.events.event import Event
from tidemill.storage.contract import Append, RouteBatch, Store
from tidemill.testing.clock import ManualClock


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(request, tmp_path, ManualClock()) as opened_store:
        yield opened_store


def event(name: str, data: object = 1) -> Event:
    return Event(id=name, source="/test", type="a", data=data)


async def test_derived_events_are_appended_with_the_cursor_or_not_at_all(store: Store) -> None:
    await store.log.append(Append(events=[event("cause")]))

    with pytest.raises(CursorMoved):
        await store.runs.route(RouteBatch(expected=7, cursor=8, derived=[(event("d1"), 5)]))
    await store.runs.route(RouteBatch(expected=0, cursor=1, derived=[(event("d1"), 5), (event("d2"), 5)]))

    assert (store.log.head, store.log.routed) == (3, 1)
    logged = await store.log.read(1, 9)
    assert [(one.position, one.event.id, one.received_at) for one in logged] == [(2, "d1", 5), (3, "d2", 5)]
    assert (await store.log.find("/test", "d2")) == logged[1]


async def test_derived_event_that_is_there_already_is_left_out(store: Store) -> None:
    await store.log.append(Append(events=[event("d1"), event("d2", "other")]))

    await store.runs.route(
        RouteBatch(
            expected=0,
            cursor=2,
            derived=[(event("d1"), 5), (event("d2"), 5), (event("d3"), 5), (event("d3"), 6)],
        )
    )

    assert [one.event.id for one in await store.log.read(0, 9)] == ["d1", "d2", "d3"]
    (letter,) = await store.dead_letters.list(stage="routing", before=None, limit=9)
    assert (letter.code, letter.coordinates["id"]) == ("id_reused", "d2")


async def test_followers_are_woken_by_derived_events(store: Store) -> None:
    await store.log.append(Append(events=[event("cause")]))

    await store.runs.route(RouteBatch(expected=0, cursor=1, derived=[(event("d1"), 5)]))

    await store.log.wait_for_event(1)
    assert (await store.log.append(Append(events=[event("next")])))[0].position == 3
