"""How often a trigger has started a run in the chain of runs that led to an event.

The chain is followed back through the log: a completion event names the event that started its run, and an event that
says by `causationid` that a run or its completion caused it, as derived ones do, belongs to that run's chain. Where the
log has dropped an event, or it names no run (one derived of a derived one), the chain begins.
"""

from __future__ import annotations

from tidemill.events.event import Event
from tidemill.events.lifecycle import Type
from tidemill.storage.contract import Store

__all__ = ["RUN_ENDS", "may_have_cause", "times_started"]

#: Events that tell that a run has ended.
RUN_ENDS = frozenset({Type.RUN_SUCCEEDED.value, Type.RUN_FAILED.value, Type.RUN_CANCELLED.value})


def may_have_cause(event: Event) -> bool:
    """Whether a run may have led to the event."""
    return event.type in RUN_ENDS or "causationid" in event.extensions


async def times_started(store: Store, trigger: str, event: Event, *, enough: int) -> int:
    """Runs of `trigger` that led to `event`; counted up to `enough`."""
    count = 0
    while count < enough and (run := await _run_before(store, event)) is not None:
        started_by, source, event_id = run
        count += started_by == trigger
        found = await store.log.find(source, event_id)
        if found is None:
            break
        event = found.event
    return count


async def _run_before(store: Store, event: Event) -> tuple[str, str, str] | None:
    """The trigger of the run that led to the event, and source and id of the event that started it."""
    if event.type in RUN_ENDS and isinstance(event.data, dict):
        cause = event.data.get("event")
        if isinstance(cause, dict):
            return str(event.data.get("trigger")), str(cause.get("source")), str(cause.get("id"))
        return None
    caused_by = str(event.extensions.get("causationid", ""))
    run = await store.runs.get(caused_by.partition("/")[0]) if caused_by else None
    return None if run is None else (run.trigger, run.event_source, run.event_id)
