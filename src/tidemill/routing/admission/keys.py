"""The keys, the priority and the size of an event, as a trigger's admission reads them. Pure."""

from __future__ import annotations

import json
from hashlib import blake2b

import orjson

from tidemill.events.digest import encode_for_log
from tidemill.events.event import JSON, LoggedEvent
from tidemill.project.admission import Admission, Stage
from tidemill.project.lookups import event_lookup
from tidemill.project.mapping import MappingFailed
from tidemill.routing.admission.items import Member
from tidemill.routing.outcomes import correlation_of, run_id_of

__all__ = ["MemberReader", "key_text"]

#: Longest key that is kept as it is.
_LONGEST = 256


class MemberReader:
    """Makes members of events; templates that several stages share are evaluated once."""

    def __init__(self, trigger: str, spec: Admission) -> None:
        self._trigger = trigger
        self._spec = spec
        templates = {id(one): one for one in (*spec.keys.values(), spec.cancel_key) if one is not None}
        places = {name: place for place, name in enumerate(templates, 1)}
        self._templates = [template.evaluate for template in templates.values()]
        #: Which of the evaluated keys each stage takes; the first one is no key.
        self._places = [places[id(spec.keys[stage])] if stage in spec.keys else 0 for stage in Stage]
        self._cancel = 0 if spec.cancel_key is None else places[id(spec.cancel_key)]
        self._measures = spec.batch is not None and spec.batch.bytes is not None

    def read(self, logged: LoggedEvent) -> Member:
        """The event as a member; raises `MappingFailed` when it has no such key."""
        event = logged.event
        lookup = event_lookup(event)
        keys = ["", *[key_text(evaluate(lookup)) for evaluate in self._templates]]
        priority = 0
        if self._spec.priority is not None:
            value = self._spec.priority.evaluate(lookup)
            if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 1_000_000:
                raise MappingFailed("priority (a whole number within a million)")
            priority = value
        part = -1
        if self._spec.join is not None:
            parts = enumerate(self._spec.join.parts)
            part = next((place for place, one in parts if one.rule.matches(event)), -1)
        return Member(
            logged.position,
            logged.received_at,
            run_id_of(self._trigger, logged),
            keys=tuple([keys[place] for place in self._places]),
            cancel_key=keys[self._cancel],
            priority=priority,
            size=len(encode_for_log(event)) if self._measures else 0,
            part=part,
            correlation=correlation_of(event),
        )

    def cancelling(self, logged: LoggedEvent) -> str:
        """The key that a cancelling event names; raises `MappingFailed` when it names none."""
        cancel_on = self._spec.cancel_on
        if cancel_on is None or cancel_on.key is None:
            return ""
        return key_text(cancel_on.key.evaluate(event_lookup(logged.event)))


def key_text(value: JSON) -> str:
    """A key as text; different values have different texts, and long ones a hash."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # numbers beyond 64 bits
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    if len(text) <= _LONGEST:
        return text
    return "#" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
