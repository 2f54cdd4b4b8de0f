"""What every source asks of an event from outside: that its data follow the project's schema for it.

Rules:

1. Which schema: the one that `dataschema` names, where `schemas/` has it; else those that name the event's type.
   Where the type has schemas and the named one is not among them, the type's hold. An event with neither is
   not looked at.
2. A schema's `on_violation` decides: `refuse` (the default) raises, `warn` logs and lets the event in.
3. No value of the data is in a message: it may be a secret, and messages go into answers and dead letters.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

from tidemill.errors import SchemaViolation
from tidemill.events import media
from tidemill.events.event import Event
from tidemill.events.lifecycle import RESERVED_PREFIX
from tidemill.project.entry import pointer_to

__all__ = ["Door", "EventSchema", "tells_of_outside"]

logger = logging.getLogger(__name__)

#: Types of our own that tell of data outside: landed files, rows of tables.
_FOUND_OUTSIDE = tuple(f"{RESERVED_PREFIX}{kind}." for kind in ("file", "row", "table"))

#: Violations named in one refusal.
_MAX_PLACES = 10
_MAX_CHARACTERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSchema:
    """One schema of event data, compiled."""

    #: Its `$id`: the `dataschema` of events that follow it.
    identity: str
    #: A `jsonschema_rs` validator.
    validator: Any
    #: Types whose events follow it although they do not name it.
    types: Sequence[str] = ()
    on_violation: Literal["refuse", "warn"] = "refuse"


class Door:
    """The schemas of a project, as sources ask them."""

    def __init__(self, schemas: Sequence[EventSchema] = ()) -> None:
        #: Whether there is anything to ask.
        self.asks = bool(schemas)
        self._by_id = {schema.identity: schema for schema in schemas}
        self._by_type: dict[str, list[EventSchema]] = {}
        for schema in schemas:
            for name in schema.types:
                self._by_type.setdefault(name, []).append(schema)

    def check(self, event: Event) -> None:
        """Return when the event may come in; raises `SchemaViolation` when it may not."""
        if event.dataschema is None and event.type not in self._by_type:
            return
        schemas = self.schemas_of(event)
        violation = _violation(event, schemas)
        if violation is None:
            return
        if schemas[-1].on_violation == "refuse":
            raise violation
        facts = {
            "type": event.type,
            "id": event.id,
            "schema": violation.schema,
            "pointer": violation.attribute,
        }
        logger.warning("event.unfit", extra=facts)

    def violation(self, event: Event) -> SchemaViolation | None:
        """How the event breaks its schema, whatever that schema's `on_violation` says; None when it does not."""
        return _violation(event, self.schemas_of(event))

    def named(self, identity: str) -> Sequence[EventSchema]:
        """The schema with this `$id`, alone and of no type; none when there is none."""
        found = self._by_id.get(identity)
        return () if found is None else (replace(found, types=()),)

    def schemas_of(self, event: Event) -> Sequence[EventSchema]:
        """The schemas of which one must hold (rule 1); the last one speaks for all."""
        by_type = self._by_type.get(event.type, ())
        named = self._by_id.get(event.dataschema or "")
        if named is None or (by_type and named not in by_type):
            return by_type
        return (named,)


def tells_of_outside(event: Event) -> bool:
    """Whether an event's data was made outside; runs, ticks and gaps are ours and are asked for nothing."""
    return not event.type.startswith(RESERVED_PREFIX) or event.type.startswith(_FOUND_OUTSIDE)


def _violation(event: Event, schemas: Sequence[EventSchema]) -> SchemaViolation | None:
    if not schemas:
        return None
    speaker = schemas[-1]
    if not _is_json(event):
        return SchemaViolation(speaker.identity, [("/data", "the data is not JSON")])
    if any(schema.validator.is_valid(event.data) for schema in schemas):
        return None
    places = [
        (pointer_to("data", *error.instance_path), _clip(error.message))
        for error in islice(speaker.validator.iter_errors(event.data), _MAX_PLACES)
    ]
    return SchemaViolation(speaker.identity, places)


def _is_json(event: Event) -> bool:
    return event.data.__class__ is not bytes and media.is_json(event.datacontenttype)


def _clip(text: str) -> str:
    return " ".join(text.split())[:_MAX_CHARACTERS]
