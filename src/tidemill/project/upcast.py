"""Upcasters: events that follow an older schema, seen as if they followed the newest.

1. The log keeps what was sent. An event is cast when its values are mapped (a trigger's parameters, a derived
   event), never before: patterns, deliveries and `$.dataschema` of the log say what was sent.
2. A step is declared in the older schema's file and leads to one newer schema; steps are followed to the end.
3. Only `dataschema` says which version an event has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill.events.event import JSON
from tidemill.project.lookups import Lookup, Overlaid
from tidemill.project.mapping import Template

__all__ = ["Step", "Upcasts"]


@dataclass(frozen=True, slots=True)
class Step:
    """From one schema to the next newer one."""

    #: `$id` of the newer schema.
    to: str
    #: The newer data, from the event as the older schema has it.
    data: Template


class Upcasts:
    """Every step of a project, by the `$id` it leads from; there is no way round in a circle."""

    def __init__(self, steps: Mapping[str, Step] | None = None) -> None:
        self._steps = dict(steps or {})

    def __bool__(self) -> bool:
        return bool(self._steps)

    def lookup(self, root: Lookup) -> Lookup:
        """`root`, an event's lookup, with the newest `data` and `dataschema`; itself when it is new enough.

        Raises `MappingFailed` where a step asks for what is not there.
        """
        try:
            schema = root["dataschema"]
        except KeyError:
            return root
        while (step := self._steps.get(schema)) is not None:
            members: dict[str, JSON] = {"dataschema": step.to, "data": step.data.evaluate(root)}
            root, schema = Overlaid(root, members), step.to
        return root
