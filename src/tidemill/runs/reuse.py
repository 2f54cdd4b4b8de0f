"""Results that a task gets without being called: carried over from an earlier run, edited, or from the cache. Pure.

What was given is in the history as attempt 0 (see `decide.give`), so that a replay needs neither the earlier run nor
the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["How", "Reused"]


class How(StrEnum):
    """How a task came by its result."""

    #: The earlier run of the same work had it.
    CARRIED = "carried"
    #: Somebody wrote it in place of the earlier run's.
    EDITED = "edited"
    #: Made by another run for the same code and inputs.
    CACHED = "cached"


@dataclass(frozen=True, slots=True)
class Reused:
    """A result and where it came from."""

    #: JSON text.
    result: bytes
    how: How
    run: str
    by: str = ""
