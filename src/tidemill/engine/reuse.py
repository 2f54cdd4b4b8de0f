"""What a decision changes beside its run: the cache, what the run holds of others, and whether it is quarantined."""

from __future__ import annotations

from dataclasses import replace

from tidemill.engine.live import LiveRun
from tidemill.runs.state import RunPhase
from tidemill.storage.contract import Reuse, RunEnd

__all__ = ["reuse_of"]

#: How the reason of a run begins that was failed because the process died too often while it was running.
_QUARANTINED = "quarantined"


def reuse_of(live: LiveRun, summary: RunEnd | None) -> Reuse | None:
    """What goes with the records that are handed over now; `summary` is what they change of the run's row."""
    found = None if live.reuse is None else live.reuse.take()
    if summary is None or summary.state != RunPhase.FAILED or not live.state.reason.startswith(_QUARANTINED):
        return found
    return replace(found or Reuse(), quarantined=True)
