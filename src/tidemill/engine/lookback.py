"""Events that were routed before a wait for them was on disk: found by reading that part of the log.

One pass serves all waits that are looked for together. It begins where the earliest of them begins: after the position
that it knows, or, where it asks for events received before it began, after the last event received before that time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from tidemill.events.event import LoggedEvent
from tidemill.patterns.index import Index
from tidemill.patterns.rule import PatternError
from tidemill.project.waits import WaitPattern, compile_body
from tidemill.storage.contract import Store, UnreadWait

__all__ = ["look_back"]

_PAGE = 512


async def look_back(store: Store, waits: Sequence[UnreadWait]) -> dict[tuple[str, str], int]:
    """Position of the first event for each of these waits, by (run, task), of those for which there is one."""
    patterns = await _patterns(store, {one.pattern for one in waits})
    index = Index({name: one.rule for name, one in patterns.items()})
    wanted: dict[str, list[UnreadWait]] = {}
    for wait in waits:
        wanted.setdefault(wait.key, []).append(wait)
    found: dict[tuple[str, str], int] = {}
    position, last = await _first(store, waits), max(wait.routed for wait in waits)
    while position < last:
        page = await store.log.read(position, _PAGE)
        if not page:
            break
        for logged in page:
            if logged.position <= last:
                _compare(logged, index, patterns, wanted, found)
        position = page[-1].position
        await asyncio.sleep(0)
    return found


def _compare(
    logged: LoggedEvent,
    index: Index,
    patterns: Mapping[str, WaitPattern],
    wanted: Mapping[str, Sequence[UnreadWait]],
    found: dict[tuple[str, str], int],
) -> None:
    if "replayid" in logged.event.extensions:
        return
    for name in index.match(logged.event):
        key = patterns[name].key(logged.event)
        for wait in wanted.get(key, ()) if key is not None else ():
            is_within = wait.since < logged.position <= wait.routed
            if is_within and (wait.from_at is None or logged.received_at >= wait.from_at):
                found.setdefault((wait.run_id, wait.task), logged.position)


async def _patterns(store: Store, names: set[str]) -> dict[str, WaitPattern]:
    _, bodies = await store.waits.patterns()
    found: dict[str, WaitPattern] = {}
    for name in names & bodies.keys():
        try:
            found[name] = compile_body(name, bodies[name])
        except (PatternError, LookupError, ValueError):
            continue  # the router has told of it; nothing matches
    return found


async def _first(store: Store, waits: Sequence[UnreadWait]) -> int:
    """The position after which events have to be read."""
    starts = [wait.since for wait in waits if wait.from_at is None]
    times = [wait.from_at for wait in waits if wait.from_at is not None]
    if times:
        starts.append(await _before(store, min(times), max(wait.routed for wait in waits)))
    return min(starts)


async def _before(store: Store, at: int, last: int) -> int:
    """A position after which every event up to `last` is that was received at or after `at`.

    Events are received in the order of the log but for jumps of the clock.
    """
    oldest = await store.keeping.oldest()
    if oldest is None:
        return last
    low, high = oldest[0] - 1, last
    while low < high:  # everything up to `low` was received before `at`
        middle = (low + high + 1) // 2
        logged = await store.log.get(middle)
        if logged is not None and logged.received_at >= at:
            high = middle - 1
        else:
            low = middle
    return low
