"""Recorded events in order, with what became of them: from the archive first, then from the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from tidemill.keeping.archive import Archive, Archived
from tidemill.storage.contract import Became, Store

__all__ = ["begins_at", "read_past", "tell_past"]

_PAGE = 512
_NOWHERE = 1 << 62


async def read_past(store: Store, first: int, last: int) -> list[Archived]:
    """The logged events from `first` to `last`, as they were logged, in order, with what became of them."""
    events = await store.log.read(first - 1, last - first + 1, as_logged=True)
    became: dict[int, list[Became]] = {}
    for one in await store.keeping.became(first, last):
        became.setdefault(one.disposition.position, []).append(one)
    return [Archived(logged, became.get(logged.position, ())) for logged in events if logged.position <= last]


async def tell_past(
    store: Store, archive: Archive | None, *, after: int, until: int
) -> AsyncIterator[list[Archived]]:
    """Recorded events with position > `after` and <= `until`, with their data, page by page.

    What retention drops meanwhile is found in the archive where there is one. An event whose data is lost is told as
    it was logged.
    """
    async for page in _pages(store, archive, after=after, until=until):
        while page:
            filled = await store.log.filled([one.logged for one in page])
            yield [replace(one, logged=logged) for one, logged in zip(page, filled, strict=False)]
            page = page[len(filled) :]


async def _pages(
    store: Store, archive: Archive | None, *, after: int, until: int
) -> AsyncIterator[list[Archived]]:
    while after < until:
        page = await read_past(store, after + 1, min(after + _PAGE, until))
        begins = await begins_at(store)
        if begins <= after + 1:  # nothing of it had been dropped when it was read
            if not page:
                return
            after = page[-1].logged.position
            yield page
            continue
        # Dropped, maybe only now: what was archived of it first is whole.
        dropped = min(until, begins - 1)
        if archive is not None:
            archived = archive.read(after)
            while page := await asyncio.to_thread(_take, archived, dropped):
                after = page[-1].logged.position
                yield page
        after = max(after, dropped)


async def begins_at(store: Store) -> int:
    """Position where the log begins; beyond every position when it is empty."""
    oldest = await store.keeping.oldest()
    return _NOWHERE if oldest is None else oldest[0]


def _take(archived: object, until: int) -> list[Archived]:
    page: list[Archived] = []
    for one in archived:  # type: ignore[attr-defined]
        if one.logged.position > until:
            break
        page.append(one)
        if len(page) == _PAGE:
            break
    return page
