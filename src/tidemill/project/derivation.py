"""Derived events: an event that matches becomes another event, which goes through the log like any other.

1. The derived event names its cause: `causationid` is the id of the event it was made of, `correlationid` is
   carried on, and `hopcount` is one more, so that events that derive each other are stopped where runs are.
2. Its identity follows from the cause: the same event derives the same event, however often it is routed.
3. Here is only what it says; whoever routes appends it, in the transaction of the cause's dispositions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from tidemill.events.event import JSON, Event, ExtensionValue
from tidemill.patterns.rule import Rule
from tidemill.project.composition import compose
from tidemill.project.enrichment import Enrichment
from tidemill.project.lookups import Lookup, enriched_lookup, event_lookup
from tidemill.project.mapping import Template
from tidemill.project.upcast import Upcasts

__all__ = ["SET_BY_US", "Derivation", "derive", "hop_count"]

#: Extensions that say where the derived event comes from.
SET_BY_US = ("causationid", "correlationid", "hopcount", "traceparent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivation:
    """Which events become which other event."""

    name: str
    rule: Rule
    #: Attribute name to template; `type` and `source` are always there.
    attributes: Mapping[str, Template]
    #: The derived event's data; None takes that of the cause.
    data: Template | None = None
    enrichments: Sequence[Enrichment] = ()
    upcasts: Upcasts | None = None
    paused: bool = False
    file: str = ""
    line: int = 0


def derive(derivation: Derivation, event: Event, *, enriched: Mapping[str, JSON] | None = None) -> Event:
    """The event that `derivation` makes of `event`; `enriched` holds the values of its enrichments.

    Raises `EventRejected` (`mapping_failed`, `reserved_type`, `invalid_cloudevent`, …) and `MappingFailed` (of an
    upcaster): a dead letter of the cause.
    """
    root: Lookup = event_lookup(event) if enriched is None else enriched_lookup(event, enriched)
    if derivation.upcasts:
        root = derivation.upcasts.lookup(root)
    try:
        whole = root["data"]
    except KeyError:
        whole = event.data
    return compose(
        derivation.attributes,
        derivation.data,
        root,
        whole=whole,
        fallback_id=_identity(derivation.name, event),
        extensions=_origin(event),
    )


def hop_count(event: Event) -> int:
    """How many runs and derivations led to the event."""
    hops = event.extensions.get("hopcount", 0)
    if isinstance(hops, str) and hops.isdecimal():
        # The HTTP and Kafka bindings carry extensions as text; ten digits are too many hops in any case.
        return int(hops.lstrip("0")[:10] or 0)
    return hops if isinstance(hops, int) and not isinstance(hops, bool) and hops > 0 else 0


def _origin(event: Event) -> dict[str, ExtensionValue]:
    extensions = event.extensions
    origin: dict[str, ExtensionValue] = {
        "causationid": event.id,
        "correlationid": str(extensions.get("correlationid") or event.id),
        "hopcount": min(hop_count(event) + 1, 2**31 - 1),
    }
    if (trace := extensions.get("traceparent")) is not None:
        origin["traceparent"] = trace
    return origin


def _identity(name: str, event: Event) -> str:
    text = f"{name}\0{event.source}\0{event.id}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
