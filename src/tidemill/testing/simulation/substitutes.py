"""What has no seam: ids that are drawn, and the moment for which the event loop steps aside for the writer's thread."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from tidemill import ids
from tidemill.storage.sqlite import writer
from tidemill.testing.simulation.chance import Chance
from tidemill.testing.simulation.clock import SimulatedClock

__all__ = ["substituted"]


@contextmanager
def substituted(chance: Chance, clock: SimulatedClock) -> Iterator[None]:
    """Inside, ids follow from the seed and nobody waits for a thread."""
    draw = chance.stream("ids")

    def uuid7() -> uuid.UUID:
        value = (clock.now_us() // 1000 & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | draw.getrandbits(76)
        return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)

    kept: list[tuple[Any, str, Any]] = []
    for module, name, stand_in in (
        (ids, "uuid_utils", SimpleNamespace(uuid7=uuid7)),
        (writer, "_Handover", _NoHandover),
    ):
        kept.append((module, name, getattr(module, name)))
        setattr(module, name, stand_in)
    try:
        yield
    finally:
        for module, name, original in kept:
            setattr(module, name, original)


class _NoHandover:
    """There is no thread: a commit takes simulated time."""

    def done(self) -> None:
        pass

    def wait(self, seconds: float) -> bool:
        return True
