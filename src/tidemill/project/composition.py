"""Templates become a CloudEvent: what webhooks make of requests and derivations of events. No I/O, no clock.

Values come from outside and end up in attributes: each is converted or refused here, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidemill.errors import EventRejected
from tidemill.events import validate
from tidemill.events.event import JSON, Event, ExtensionValue
from tidemill.project.lookups import Lookup
from tidemill.project.mapping import MappingFailed, Template

__all__ = ["compose"]

#: Attributes that are text whatever the value is; extensions may be numbers and booleans.
_TEXT_ATTRIBUTES = frozenset({"id", "source", "type", "subject", "time", "datacontenttype", "dataschema"})
_NEEDED = ("id", "source", "type")


def compose(
    attributes: Mapping[str, Template],
    data: Template | None,
    root: Lookup,
    *,
    whole: JSON,
    fallback_id: str,
    extensions: Mapping[str, ExtensionValue] | None = None,
) -> Event:
    """The event that templates make of `root`: `type` and `source` among them, `fallback_id` where no id is.

    `whole` is the data where no template says what it is; `extensions` are added to those of the templates.
    Raises `EventRejected`: `mapping_failed` with the path that leads nowhere, `reserved_type`, and all of
    `validate.create`.
    """
    found: dict[str, ExtensionValue] = {}
    for name, template in attributes.items():
        value = _attribute(name, _evaluate(template, root, name))
        if value is not None:
            found[name] = value
    event = validate.create(
        id=str(found.pop("id", fallback_id)),
        source=str(found.pop("source")),
        type=str(found.pop("type")),
        subject=_optional_text(found, "subject"),
        time=_optional_text(found, "time"),
        datacontenttype=_optional_text(found, "datacontenttype"),
        dataschema=_optional_text(found, "dataschema"),
        data=whole if data is None else _evaluate(data, root, "data"),
        extensions={**found, **(extensions or {})},
    )
    validate.refuse_reserved(event)
    return event


def _optional_text(attributes: dict[str, ExtensionValue], name: str) -> str | None:
    value = attributes.pop(name, None)
    return None if value is None else str(value)


def _evaluate(template: Template, root: Lookup, name: str) -> JSON:
    try:
        return template.evaluate(root)
    except MappingFailed as error:
        raise EventRejected("mapping_failed", str(error), attribute=name) from error


def _attribute(name: str, value: JSON) -> ExtensionValue | None:
    """`value` as the attribute `name`; None leaves an optional attribute out."""
    match value:
        case None if name not in _NEEDED:
            return None
        case bool() if name in _TEXT_ATTRIBUTES:
            return "true" if value else "false"
        case int() if name in _TEXT_ATTRIBUTES:
            return str(value)
        case "" if name in _NEEDED:
            raise EventRejected("mapping_failed", f"the value for {name} is empty", attribute=name)
        case str() | bool() | int():
            return value
    raise EventRejected(
        "mapping_failed", f"the value for {name} is not text, a whole number or true/false", attribute=name
    )
