"""What a trigger starts its DAG with, for whoever starts, tries or plans. Pure but for a project's own reducer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tidemill.dag.definition import Dag
from tidemill.events.event import Event
from tidemill.project.lookups import Lookup, Overlaid, event_lookup
from tidemill.project.model import Trigger

__all__ = ["group_lookup", "shown", "start_parameters", "why_unknown"]

One = TypeVar("One")


def start_parameters(trigger: Trigger, dag: Dag, lookup: Lookup) -> Mapping[str, Any]:
    """The parameters that `$` gives, as the DAG takes them; raises `MappingFailed` or `ParameterError`."""
    values = {} if trigger.parameters is None else trigger.parameters.evaluate(lookup)
    validated: Mapping[str, Any] = dag.parameters.validate(values)
    return validated


def shown(trigger: Trigger, events: Sequence[One]) -> One:
    """The event of a group that the trigger's mapping sees."""
    is_first = trigger.admission is not None and trigger.admission.shown == "first"
    return events[0] if is_first else events[-1]


def group_lookup(trigger: Trigger, events: Sequence[Event]) -> Lookup:
    """`$` as the event that is shown of a group, its data reduced, with all of them as `$.events`.

    Raises what the trigger's own reducer raises.
    """
    spec = trigger.admission
    if spec is None or not spec.collects:
        return event_lookup(events[-1])
    members: dict[str, Any] = {"events": [event_lookup(one).whole() for one in events]}
    if spec.reduce is not None:
        members["data"] = spec.reduce(list(events))
    return Overlaid(event_lookup(shown(trigger, events)), members)


def why_unknown(trigger: Trigger) -> str | None:
    """Why nobody can say the parameters without running code of the project; None when they follow from the event."""
    if trigger.enrichments:
        names = ", ".join(one.name for one in trigger.enrichments)
        return f"they are made with what {names} would look up"
    spec = trigger.admission
    if spec is not None and spec.collects and spec.reduce is not None:
        return "they are made from all events of the run, by its reducer"
    return None
