"""What every store must do with data above a size: it is put away before its event is logged, and had back whole."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.databases import DATABASES, opened

from tidemill.clock import SystemClock
from tidemill.errors import DiskFull, EventRejected, StoreUnavailable
from tidemill.events.dataref import reference_of
from tidemill.events.event import Event, LoggedEvent
from tidemill.storage.claims import EventData
from tidemill.storage.contract import Append, Appended, CursorMove, EventFilter, RouteBatch, Store

ABOVE = 1024
DAY_US = 86_400_000_000


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture(params=DATABASES)
async def store(request: pytest.FixtureRequest, tmp_path: Path, kept: Path) -> AsyncIterator[Store]:
    data = EventData(f"file://{kept}", above=ABOVE)
    async with opened(request, tmp_path, SystemClock(), data=data) as store:
        yield store


def event(event_id: str, data: Any, *, media: str | None = None, **extensions: Any) -> Event:
    return Event(
        id=event_id,
        source="/shop",
        type="com.example.placed",
        datacontenttype=media,
        data=data,
        extensions=extensions,
    )


def files(kept: Path) -> list[Path]:
    return sorted(path for path in kept.rglob("*") if path.is_file())


def forget_contents(store: Store) -> None:
    """As another node, or this one after a restart, knows of them: not at all."""
    store.log._data._contents.clear()  # type: ignore[attr-defined]


LARGE = {"text": "x" * 2000}


@pytest.mark.parametrize(
    ("data", "media"),
    [
        (LARGE, None),
        (["ä" * 1000, 1.5, None, True], "application/vnd.example+json"),
        ("a JSON string " * 200, "application/json"),
        ("plain text, ünder any charset " * 100, "text/plain; charset=latin-1"),
        (bytes(range(256)) * 8, "application/octet-stream"),
        (b"\xff" * 3000, "application/json"),
    ],
    ids=["object", "list", "json string", "text", "bytes", "bytes said to be JSON"],
)
async def test_large_data_is_put_away_and_comes_back_as_it_was(
    store: Store, kept: Path, data: Any, media: str | None
) -> None:
    sent = event("1", data, media=media, correlationid="c")

    await store.log.append(Append(events=[sent]))
    forget_contents(store)

    (listed,) = await store.log.list(EventFilter(), before=None, limit=5)
    assert listed.event.data is None
    assert str(listed.event.extensions["dataref"]).startswith(f"file://{kept}/events/")
    assert len(files(kept)) == 1
    assert (await store.log.read(0, 10))[0].event == sent
    assert (await store.log.get(1) or listed).event == sent
    assert (await store.log.find("/shop", "1") or listed).event == sent
    assert [one.event for one in await store.log.at([1])] == [sent]


async def test_data_up_to_the_size_stays_in_the_log(store: Store, kept: Path) -> None:
    fits, too_large = "x" * (ABOVE - 2), "x" * (ABOVE - 1)  # with its two quotation marks

    await store.log.append(Append(events=[event("1", fits), event("2", too_large)]))

    listed = await store.log.list(EventFilter(), before=None, limit=5)
    assert [reference_of(one.event) is None for one in listed] == [False, True]
    assert len(files(kept)) == 1


async def test_an_event_sent_again_is_a_duplicate_and_one_file(store: Store, kept: Path) -> None:
    sent = event("1", LARGE)

    first = await store.log.append(Append(events=[sent]))
    second = await store.log.append(Append(events=[sent]))

    assert (first, second) == ([Appended(1)], [Appended(1, duplicate=True)])
    assert len(files(kept)) == 1


async def test_an_identity_with_other_large_data_is_refused(store: Store) -> None:
    await store.log.append(Append(events=[event("1", LARGE)]))

    with pytest.raises(EventRejected, match="other content"):
        await store.log.append(Append(events=[event("1", {"text": "y" * 2000})]))


async def test_an_event_with_a_dataref_of_its_own_stays_as_it_is(store: Store, kept: Path) -> None:
    without = event("1", None, dataref="https://example.com/there")
    with_both = event("2", LARGE, dataref="https://example.com/there")

    await store.log.append(Append(events=[without, with_both]))

    assert [one.event for one in await store.log.read(0, 10)] == [without, with_both]
    assert files(kept) == []


async def test_an_event_that_names_the_data_of_another_does_not_get_it(store: Store) -> None:
    await store.log.append(Append(events=[event("secret", LARGE)]))
    (listed,) = await store.log.list(EventFilter(), before=None, limit=1)
    thief = event("2", None, dataref=listed.event.extensions["dataref"])

    await store.log.append(Append(events=[thief]))

    assert (await store.log.get(2) or listed).event == thief


async def test_nothing_is_logged_while_data_cannot_be_put_away(
    store: Store, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(errno.EIO, "no such luck")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", refuse)
        with pytest.raises(StoreUnavailable, match="no such luck"):
            await store.log.append(Append(events=[event("1", LARGE)]))

    assert store.log.head == 0
    assert files(kept) == []
    assert await store.log.append(Append(events=[event("1", LARGE)])) == [Appended(1)]


async def test_a_full_disk_is_called_that(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(DiskFull):
        await store.log.append(Append(events=[event("1", LARGE)]))


async def test_data_that_is_gone_or_damaged_is_not_handed_out(store: Store, kept: Path) -> None:
    await store.log.append(Append(events=[event("1", LARGE), event("2", {"text": "y" * 2000})]))
    forget_contents(store)
    gone, damaged = files(kept)
    gone.unlink()
    damaged.write_bytes(damaged.read_bytes().replace(b"xx", b"zz").replace(b"yy", b"zz"))

    found = await store.log.read(0, 10)

    assert [reference_of(one.event) is not None for one in found] == [True, True]


async def test_a_store_that_is_not_there_is_waited_for(store: Store, kept: Path) -> None:
    await store.log.append(Append(events=[event("1", LARGE)]))
    forget_contents(store)
    (kept / "events").rename(kept / "elsewhere")

    with pytest.raises(StoreUnavailable):
        await store.log.read(0, 10)

    (kept / "elsewhere").rename(kept / "events")
    assert (await store.log.read(0, 10))[0].event.data == LARGE


async def test_jobs_that_move_one_cursor_keep_their_order(store: Store) -> None:
    jobs = [
        Append(
            events=[event(str(number), "x" * (500_000 if number == 0 else 1))],
            cursors=(CursorMove("kafka/t/0", str(number - 1) if number else None, str(number)),),
            origin="orders",
        )
        for number in range(20)
    ]

    answers = await asyncio.gather(*[store.log.append(job) for job in jobs])

    assert [answer[0].position for answer in answers] == list(range(1, 21))


async def test_a_page_ends_where_its_data_would_not_fit_into_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.storage.claims._PAGE", 4500)
    await store.log.append(Append(events=[event(str(number), LARGE) for number in range(5)]))

    first = await store.log.read(0, 10)

    assert [one.position for one in first] == [1, 2]
    assert len(await store.log.read(0, 10, as_logged=True)) == 5
    assert [one.position for one in await store.log.at([1, 2, 3, 5])] == [1, 2, 3, 5]


async def test_large_derived_events_are_put_away_too(store: Store, kept: Path) -> None:
    await store.log.append(Append(events=[event("1", {})]))

    await store.runs.route(RouteBatch(expected=0, cursor=1, derived=[(event("derived", LARGE), 1234)]))

    found = await store.log.get(2)
    assert isinstance(found, LoggedEvent)
    assert (found.event.data, found.received_at) == (LARGE, 1234)
    assert len(files(kept)) == 1


async def test_data_is_forgotten_by_whole_days_that_ended_a_day_before(store: Store, kept: Path) -> None:
    await store.log.append(Append(events=[event("1", LARGE)]))
    (today,) = (kept / "events").iterdir()
    (kept / "events" / "2001-02-03").mkdir()
    (kept / "events" / "not-a-day").mkdir()
    (kept / "some-run").mkdir()
    now = SystemClock().now_us()

    assert await store.keeping.forget_data(before=now) == 1
    assert await store.keeping.forget_data(before=now + DAY_US // 2) == 0
    assert sorted(path.name for path in (kept / "events").iterdir()) == [today.name, "not-a-day"]
    assert await store.keeping.forget_data(before=now + 3 * DAY_US) == 1
    assert (kept / "some-run").is_dir()


async def test_files_are_for_nobody_else_to_read(store: Store, kept: Path) -> None:
    await store.log.append(Append(events=[event("1", LARGE)]))

    (path,) = files(kept)

    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_a_row_is_small_whatever_its_data(tmp_path: Path, kept: Path) -> None:
    from tidemill.storage.sqlite import open_store

    path = tmp_path / "s.db"
    store = await open_store(path, clock=SystemClock(), data=EventData(f"file://{kept}", above=ABOVE))
    await store.log.append(Append(events=[event("1", "x" * 1_000_000)]))
    await store.close()

    with sqlite3.connect(path) as connection:
        ((size,),) = connection.execute("SELECT length(body) FROM events").fetchall()
    connection.close()

    assert size < 600
