"""Events that no trigger took: found by what is not there, so a request looks at a bounded stretch and says how far.

Events that wait in admission are not among them. The router writes down late that nothing matched, so the latest events
are judged by the live definitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidemill.api.parts import Parts
from tidemill.events.event import LoggedEvent
from tidemill.patterns.index import Index
from tidemill.project.addressing import ADDRESSED
from tidemill.project.model import Project
from tidemill.storage.contract import EventFilter

__all__ = ["find_unmatched"]

#: Events looked at for one request.
_LOOKED = 5000
_PAGE = 500
#: Positions between the first and the last event that are asked for together.
_SPAN = 5000
#: Sorts after every name.
_LAST_NAME = "\x7f"
#: What tells of runs is mostly taken by nobody, and says nothing of what a trigger missed.
_TELLS_OF_RUNS = tuple(f"dev.tidemill.{word}." for word in ("run", "task", "tree", "asset", "subscription"))


#: Rules of the live version, kept for the next question.
_live: dict[str, Index] = {}


async def find_unmatched(
    parts: Parts, where: EventFilter, *, before: int | None, limit: int
) -> tuple[list[LoggedEvent], int | None]:
    """Up to `limit` of them, newest first, and where to look on; None when everything was looked at.

    Events that tell of runs are left out unless `where` names their type.
    """
    found: list[LoggedEvent] = []
    looked, routed = 0, parts.store.log.routed
    live: Index | None = None
    while looked < _LOOKED:
        page = await parts.store.log.list(where, before=before, limit=_PAGE)
        for events in _stretches(page):
            taken = await _taken(parts, events[-1].position, events[0].position)
            for one in events:
                before = one.position
                if one.position > routed:
                    live = live or _index(parts.project())
                    if one.event.type in ADDRESSED or live.match(one.event):
                        continue  # something will become of it
                if one.position in taken or (
                    where.type is None and one.event.type.startswith(_TELLS_OF_RUNS)
                ):
                    continue
                found.append(one)
                if len(found) == limit:
                    return found, before
        if len(page) < _PAGE:
            return found, None
        looked += len(page)
    return found, before


def _index(project: Project) -> Index:
    if project.version not in _live:
        _live.clear()
        _live[project.version] = Index({trigger.name: trigger.rule for trigger in project.triggers})
    return _live[project.version]


def _stretches(events: Sequence[LoggedEvent]) -> Iterator[list[LoggedEvent]]:
    """The events, newest first, divided so that no stretch is wider than `_SPAN`."""
    stretch: list[LoggedEvent] = []
    for one in events:
        if stretch and stretch[0].position - one.position >= _SPAN:
            yield stretch
            stretch = []
        stretch.append(one)
    if stretch:
        yield stretch


async def _taken(parts: Parts, first: int, last: int) -> set[int]:
    """Positions of events of which something became, or that wait."""
    store = parts.store
    taken: set[int] = set()
    # The order matters: what is released between the two questions has a disposition by the second one.
    after = (first - 1, _LAST_NAME)
    while page := await store.admissions.held(after=after, limit=1000):
        taken.update(one.position for one in page if one.position <= last)
        after = (page[-1].position, page[-1].trigger)
        if page[-1].position > last:
            break
    taken.update(one.disposition.position for one in await store.keeping.became(first, last))
    return taken
