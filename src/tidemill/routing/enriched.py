"""What is looked up for events before they are routed: the values of the enrichments of what they match.

Routing itself never waits. Whoever routes has the values of a stretch of events looked up first (`prepare`), all at
once, and then asks for each event's `$` (`lookup`). A look-up that failed is told where its value would be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from tidemill.clock import Clock
from tidemill.errors import TidemillError
from tidemill.events.event import JSON, LoggedEvent
from tidemill.patterns.index import Index
from tidemill.project.derivation import Derivation
from tidemill.project.enricher import Enricher
from tidemill.project.enrichment import EnrichmentFailed
from tidemill.project.lookups import Lookup, enriched_lookup, event_lookup
from tidemill.project.mapping import MappingFailed
from tidemill.project.model import Project, Trigger

__all__ = ["Enriched"]


class Enriched:
    """The enrichments of a project's triggers and derivations."""

    def __init__(self, project: Project, *, clock: Clock) -> None:
        owners: list[Trigger | Derivation] = [*project.triggers, *project.derivations]
        self._owners = {_key(one): one for one in owners if one.enrichments}
        self._index = Index({key: one.rule for key, one in self._owners.items()})
        self._enricher = Enricher(clock=clock)
        #: Owner and position to what was found for them.
        self._found: dict[tuple[str, int], dict[str, JSON] | TidemillError] = {}

    @property
    def is_used(self) -> bool:
        """Whether anything is ever looked up."""
        return bool(self._owners)

    async def prepare(self, events: Iterable[LoggedEvent]) -> None:
        """Look up everything for what these events match; what was looked up before is forgotten."""
        self._found.clear()
        wanted = [(key, logged) for logged in events for key in self._index.match(logged.event)]
        await asyncio.gather(*[self._look_up(key, logged) for key, logged in wanted])

    async def prepare_for(self, owner: Trigger | Derivation, events: Sequence[LoggedEvent]) -> None:
        """Look up what is not there yet for events that matched `owner` earlier and go on now."""
        key = _key(owner)
        if key in self._owners:
            missing = [logged for logged in events if (key, logged.position) not in self._found]
            await asyncio.gather(*[self._look_up(key, logged) for logged in missing])

    def lookup(self, owner: Trigger | Derivation, logged: LoggedEvent) -> Lookup:
        """`$` for the owner's templates; raises `EnrichmentFailed` or `MappingFailed` where a look-up failed."""
        values = self.values(owner, logged)
        return event_lookup(logged.event) if values is None else enriched_lookup(logged.event, values)

    def values(self, owner: Trigger | Derivation, logged: LoggedEvent) -> dict[str, JSON] | None:
        """The values looked up for the event, None where the owner has no enrichments; raises as `lookup` does."""
        if not owner.enrichments:
            return None
        found = self._found.get((_key(owner), logged.position))
        if found is None:
            raise EnrichmentFailed(owner.enrichments[0].name, "nothing was looked up for this event")
        if isinstance(found, TidemillError):
            raise found
        return found

    async def _look_up(self, key: str, logged: LoggedEvent) -> None:
        found: dict[str, JSON] | TidemillError
        try:
            found = await self._enricher.values(self._owners[key].enrichments, logged.event)
        except (EnrichmentFailed, MappingFailed) as error:
            found = error
        self._found[key, logged.position] = found


def _key(owner: Trigger | Derivation) -> str:
    """Triggers and derivations may have the same names."""
    return f"{'derive' if isinstance(owner, Derivation) else 'trigger'} {owner.name}"
