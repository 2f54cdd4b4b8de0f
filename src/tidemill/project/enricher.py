"""Calls the functions of enrichments: bounded in time, the same question asked once, answers kept for their time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from tidemill.clock import Clock
from tidemill.errors import EventRejected
from tidemill.events import json_value
from tidemill.events.event import JSON, Event
from tidemill.project.enrichment import Enrichment, EnrichmentCache, EnrichmentFailed, Key
from tidemill.project.lookups import Lookup, event_lookup

__all__ = ["Enricher"]


class Enricher:
    """Every cache of one process. Belongs to one event loop."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._caches: dict[str, EnrichmentCache] = {}
        self._flights: dict[Key, asyncio.Task[JSON]] = {}

    async def values(self, enrichments: Sequence[Enrichment], event: Event) -> dict[str, JSON]:
        """The value of each enrichment for `event` by name, all asked at once.

        Raises `EnrichmentFailed` and `MappingFailed` (an argument's path leads nowhere). Values are the
        cache's: whoever changes them copies them first.
        """
        root = event_lookup(event)
        found = await asyncio.gather(*[self._value(one, root) for one in enrichments])
        return {one.name: value for one, value in zip(enrichments, found, strict=True)}

    async def _value(self, enrichment: Enrichment, root: Lookup) -> JSON:
        arguments = enrichment.arguments.evaluate(root)
        key = enrichment.key(arguments)
        cache = self._caches.setdefault(enrichment.reference, EnrichmentCache(enrichment.max_entries))
        is_known, value = cache.get(key, now_us=self._clock.now_us())
        if is_known:
            return value
        try:
            value = await self._ask(enrichment, key, arguments)
        except EnrichmentFailed as error:
            return enrichment.fallback(root, error.reason)
        if enrichment.ttl:
            until_us = self._clock.now_us() + enrichment.ttl // timedelta(microseconds=1)
            cache.put(key, value, until_us=until_us)
        return value

    async def _ask(self, enrichment: Enrichment, key: Key, arguments: dict[str, JSON]) -> JSON:
        """One call for all who ask the same at once; it goes on when one of them is cancelled."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(_call(enrichment, arguments))
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight)

    def _land(self, key: Key, done: asyncio.Task[JSON]) -> None:
        self._flights.pop(key, None)
        if not done.cancelled():
            done.exception()  # looked at, also where everybody who asked was cancelled


async def _call(enrichment: Enrichment, arguments: dict[str, JSON]) -> JSON:
    try:
        async with asyncio.timeout(enrichment.timeout.total_seconds()):
            value = await enrichment.function(**arguments)
    except TimeoutError:
        seconds = enrichment.timeout.total_seconds()
        raise EnrichmentFailed(enrichment.name, f"no answer within {seconds:g} s") from None
    except Exception as error:
        raise EnrichmentFailed(enrichment.name, f"{type(error).__name__}: {error}") from error
    try:
        return json_value.normalize(value)
    except EventRejected as error:
        raise EnrichmentFailed(enrichment.name, f"the answer is not JSON: {error.detail}") from error
