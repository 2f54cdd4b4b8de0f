"""How full the store may get before sources are told to wait."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Nothing is dropped at a limit: producers are asked to come back, sources that pull stop pulling."""

    #: Events in the log that are not routed yet.
    backlog: int = 200_000
    #: Jobs that wait for the next commit.
    write_queue: int = 20_000
    min_free_disk_bytes: int = 64 << 20
