"""The parameters of a run from its event or events. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.dag.definition import Dag
from tidemill.events.event import JSON, LoggedEvent
from tidemill.project.lookups import ENRICHED, Overlaid
from tidemill.project.model import Trigger
from tidemill.project.starting import group_lookup, start_parameters

__all__ = ["parameters_of"]


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
    lookup = group_lookup(trigger, [logged.event for logged in events])
    if enriched is not None:
        lookup = Overlaid(lookup, {ENRICHED: dict(enriched)})
    return start_parameters(trigger, dag, lookup)
