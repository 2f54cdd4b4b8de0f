"""Enrichment: a function of the project looks up what an event does not say, for the templates of one trigger.

Here are its definition and the cache of its answers. The cache is pure: it is told the time. Who calls the
function, and when, is `enricher`'s to say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import orjson

from tidemill.errors import TidemillError
from tidemill.events.event import JSON
from tidemill.project.lookups import Lookup
from tidemill.project.mapping import Mapping as Arguments
from tidemill.project.mapping import Template

__all__ = ["Enrichment", "EnrichmentCache", "EnrichmentFailed", "Key"]

#: What an answer is kept under: the function and its arguments.
Key = tuple[str, bytes]


class EnrichmentFailed(TidemillError):  # noqa: N818 - named as its code is
    """The function gave no value that could be used, and there is no default (code `enrichment_failed`)."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"enrichment {name} failed: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Enrichment:
    """One value that is looked up: `$.enriched.NAME` in the templates beside it."""

    name: str
    #: As written: `module:function`, of the workflows folder.
    reference: str
    function: Callable[..., Awaitable[JSON]] = field(repr=False)
    #: The function's named arguments, from the event.
    arguments: Arguments
    #: How long an answer holds; zero: it is looked up each time.
    ttl: timedelta = timedelta(minutes=5)
    #: Most answers kept.
    max_entries: int = 1000
    #: Longest time a look-up may take.
    timeout: timedelta = timedelta(seconds=5)
    #: The value where the look-up fails; None: then the event cannot start its run.
    default: Template | None = None

    def key(self, values: dict[str, JSON]) -> Key:
        """What the answer for these arguments is kept under."""
        return (self.reference, orjson.dumps(values, option=orjson.OPT_SORT_KEYS))

    def fallback(self, root: Lookup, reason: str) -> JSON:
        """The default's value; raises `EnrichmentFailed` where there is none."""
        if self.default is None:
            raise EnrichmentFailed(self.name, reason)
        return self.default.evaluate(root)


class EnrichmentCache:
    """Answers by key, each for its time; the one that was not asked for longest goes first."""

    def __init__(self, max_entries: int) -> None:
        self._max_entries = max_entries
        self._kept: OrderedDict[Key, tuple[int, JSON]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key, *, now_us: int) -> tuple[bool, JSON]:
        """Whether there is an answer that still holds, and the answer (which may be None)."""
        found = self._kept.get(key)
        if found is None:
            return False, None
        until_us, value = found
        if now_us >= until_us:
            del self._kept[key]
            return False, None
        self._kept.move_to_end(key)
        return True, value

    def put(self, key: Key, value: JSON, *, until_us: int) -> None:
        """Keep an answer until `until_us`, microseconds since the epoch."""
        self._kept[key] = (until_us, value)
        self._kept.move_to_end(key)
        while len(self._kept) > self._max_entries:
            self._kept.popitem(last=False)
