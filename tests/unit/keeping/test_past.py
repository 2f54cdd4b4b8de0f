"""Every recorded event is told once, whatever retention moves from the log to the archive meanwhile."""

from __future__ import annotations

from pathlib import Path

from tidemill.events.event import Event
from tidemill.keeping.archive import Archived, FolderArchive
from tidemill.keeping.past import read_past, tell_past
from tidemill.storage.contract import Append, Disposition, DispositionKind, RouteBatch, Store


async def fill(store: Store, count: int) -> None:
    await store.log.append(
        Append(events=[Event(id=str(number), source="/s", type="t") for number in range(count)])
    )
    found = [Disposition(position, "t", DispositionKind.PAUSED, None, "") for position in range(1, count + 1)]
    await store.runs.route(RouteBatch(expected=0, cursor=count, dispositions=found))


async def move(store: Store, archive: FolderArchive, first: int, last: int) -> None:
    """As retention does, on this node or another."""
    await archive.put(await read_past(store, first, last))
    await store.keeping.drop(first, last, remember_since=0, remember_above=0)
    store.log._tail.restart(store.log.head)  # type: ignore[attr-defined] # long since


async def test_what_is_archived_meanwhile_is_told_from_there(store: Store, tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path / "archive")
    await fill(store, 2000)
    told: list[Archived] = []

    async for page in tell_past(store, archive, after=0, until=1990):
        match len(told):
            case 0:
                await move(store, archive, 1, 700)
            case 512:
                await move(store, archive, 701, 1500)
        told += page

    assert [one.logged.position for one in told] == list(range(1, 1991))
    assert all(len(one.became) == 1 for one in told)


async def test_what_became_of_events_is_not_forgotten_when_they_go_while_they_are_read(
    store: Store, tmp_path: Path
) -> None:
    archive = FolderArchive(tmp_path / "archive")
    await fill(store, 600)
    became, moved = store.keeping.became, []

    async def late(first: int, last: int) -> object:
        if not moved:
            moved.append(first)
            await archive.put(await read_past(store, 1, 500))
            await store.keeping.drop(1, 500, remember_since=0, remember_above=0)
        return await became(first, last)

    store.keeping.became = late  # type: ignore[method-assign,assignment]

    told = [one async for page in tell_past(store, archive, after=0, until=600) for one in page]

    assert [one.logged.position for one in told] == list(range(1, 601))
    assert all(len(one.became) == 1 for one in told)


async def test_without_an_archive_what_is_dropped_meanwhile_is_left_out(store: Store) -> None:
    await fill(store, 2000)
    told: list[int] = []

    async for page in tell_past(store, None, after=0, until=2000):
        if not told:
            await store.keeping.drop(1, 1000, remember_since=0, remember_above=0)
            store.log._tail.restart(store.log.head)  # type: ignore[attr-defined]
        told += [one.logged.position for one in page]

    assert told == [*range(1, 513), *range(1001, 2001)]
