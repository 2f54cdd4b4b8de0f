"""Whether schemas hold: of their own examples, and of events that were recorded under earlier versions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill.errors import SchemaViolation
from tidemill.events.event import Event
from tidemill.project.door import Door, tells_of_outside
from tidemill.project.entry import pointer_to
from tidemill.project.lookups import event_lookup
from tidemill.project.mapping import MappingFailed
from tidemill.project.model import Project

__all__ = ["Finding", "check_event", "check_examples"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One event or example that a schema would not take."""

    #: `$id` of the schema.
    schema: str
    #: (JSON pointer, what is wrong there).
    places: Sequence[tuple[str, str]]
    #: False where the schema only warns.
    is_refused: bool = True


def check_examples(project: Project) -> Iterator[Finding]:
    """What is wrong with the `examples` of the schemas, each checked against its own schema."""
    for identity, written in project.written_schemas.items():
        examples = written.get("examples", []) if isinstance(written, dict) else []
        for index, example in enumerate(examples if isinstance(examples, list) else []):
            event = Event(id="example", source="/example", type="example", data=example, dataschema=identity)
            if found := check_event(project, event):
                at = pointer_to("examples", index)
                places = [(at + pointer.removeprefix("/data"), detail) for pointer, detail in found.places]
                yield Finding(found.schema, places)


def check_event(project: Project, event: Event) -> Finding | None:
    """How the door would refuse the event today, or how it cannot be cast to the newest schema; None if neither."""
    if not tells_of_outside(event):
        return None
    if (violation := project.door.violation(event)) is not None:
        reaction = project.door.schemas_of(event)[-1].on_violation
        return Finding(violation.schema, violation.places, reaction == "refuse")
    return _cast(project, event)


def _cast(project: Project, event: Event) -> Finding | None:
    try:
        root = project.upcasts.lookup(event_lookup(event))
        newest = root["dataschema"]
        data = root["data"]
    except KeyError:
        return None
    except MappingFailed as error:
        return Finding(str(event.dataschema), [("/data", f"it cannot be cast: {error}")])
    if newest == event.dataschema:
        return None
    cast = Event(id=event.id, source=event.source, type=event.type, data=data, dataschema=newest)
    violation: SchemaViolation | None = Door(project.door.named(newest)).violation(cast)
    if violation is None:
        return None
    return Finding(
        newest, [(at, f"cast from {event.dataschema}: {detail}") for at, detail in violation.places]
    )
