"""The parameters of a run from its event or events. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.dag.definition import Dag
from tidemill.events.event import JSON, LoggedEvent
from tidemill.project.lookups import ENRICHED, Lookup, Overlaid, event_lookup
from tidemill.project.model import Trigger

__all__ = ["group_lookup", "parameters_of", "shown"]


def parameters_of(
    trigger: Trigger,
    dag: Dag,
    events: Sequence[LoggedEvent],
    *,
    enriched: Mapping[str, JSON] | None = None,
) -> Mapping[str, Any]:
    """The validated parameters; raises what the mapping and the DAG's parameters raise, and what a reducer raises.

    `enriched` are the values of the trigger's enrichments for the event that is `shown`.
    """
    lookup = group_lookup(trigger, events)
    if enriched is not None:
        lookup = Overlaid(lookup, {ENRICHED: dict(enriched)})
    values = {} if trigger.parameters is None else trigger.parameters.evaluate(lookup)
    validated: Mapping[str, Any] = dag.parameters.validate(values)
    return validated


def shown(trigger: Trigger, events: Sequence[LoggedEvent]) -> LoggedEvent:
    """The event of a group that the trigger's mapping sees."""
    is_first = trigger.admission is not None and trigger.admission.shown == "first"
    return events[0] if is_first else events[-1]


def group_lookup(trigger: Trigger, events: Sequence[LoggedEvent]) -> Lookup:
    """`$` as the event that is shown of a group, its data reduced, with all of them as `$.events`."""
    spec = trigger.admission
    if spec is None or not spec.collects:
        return event_lookup(events[-1].event)
    members: dict[str, Any] = {"events": [event_lookup(one.event).whole() for one in events]}
    if spec.reduce is not None:
        members["data"] = spec.reduce([one.event for one in events])
    return Overlaid(event_lookup(shown(trigger, events).event), members)
