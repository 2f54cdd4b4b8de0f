"""To and from the event class of the `cloudevents` package (2.x), for users who hold such objects.

The package is imported when a function is called: whoever never does pays nothing for it. Its own rules are
looser than ours, so what comes from it is validated like everything else.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from tidemill.events import validate
from tidemill.events.event import Event

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent
    from cloudevents.core.v1.event import CloudEvent

__all__ = ["from_sdk", "to_sdk"]


def to_sdk(event: Event) -> CloudEvent:
    """The event as an object of the `cloudevents` package.

    Raises `ValueError` when `time` is one that Python's `datetime` cannot hold (a leap second, the year 0).
    """
    from cloudevents.core.v1.event import CloudEvent

    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
    }
    for name in ("subject", "datacontenttype", "dataschema"):
        value = event.attribute(name)
        if value is not None:
            attributes[name] = value
    attributes.update(event.extensions)
    if event.time is not None:
        attributes["time"] = datetime.fromisoformat(event.time.upper())
    converted = CloudEvent(attributes, event.data)
    if event.time is None:
        converted.get_attributes().pop("time", None)  # the package fills in the present time
    return converted


def from_sdk(converted: BaseCloudEvent) -> Event:
    """The event that an object of the `cloudevents` package holds, or `EventRejected`."""
    extensions = dict(converted.get_attributes())
    take = extensions.pop
    validate.check_specversion(take("specversion", None))
    time = take("time", None)
    return validate.create(
        id=take("id", None),
        source=take("source", None),
        type=take("type", None),
        subject=take("subject", None),
        time=_time_text(time) if isinstance(time, datetime) else time,
        datacontenttype=take("datacontenttype", None),
        dataschema=take("dataschema", None),
        data=converted.get_data(),
        extensions=extensions,
    )


def _time_text(time: datetime) -> str:
    text = time.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text
