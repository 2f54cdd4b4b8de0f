"""Builds derivations and checks that they make events, also of the examples they come with."""

from __future__ import annotations

from pathlib import Path

from tidemill.errors import EventRejected
from tidemill.events.event import Event
from tidemill.project import mapping
from tidemill.project.attribute_templates import compile_attributes, compile_data
from tidemill.project.derivation import SET_BY_US, Derivation, derive
from tidemill.project.enrichment_form import build_enrichments, enriched_names
from tidemill.project.entry import Entry, pointer_to
from tidemill.project.examples import check_examples
from tidemill.project.rules import compile_rule
from tidemill.project.structure import check_structure
from tidemill.project.trigger_file import DeriveEntry
from tidemill.project.upcast import Upcasts

__all__ = ["build_derivation"]

#: What a derived event has of its cause where nothing else is said.
_CARRIED = ("subject", "time")
#: What belongs to the cause's data, and is carried with it.
_CARRIED_WITH_DATA = ("datacontenttype", "dataschema")


def build_derivation(entry: Entry, root: Path, *, upcasts: Upcasts | None = None) -> Derivation | None:
    """The entry's derivation; None when something is wrong with it, with every problem noted."""
    before = len(entry.problems)
    form = check_structure(entry, DeriveEntry)
    rule = compile_rule(entry)
    attributes = _attributes(entry)
    data = compile_data(entry, "data", root="event", enriched=enriched_names(entry))
    enrichments = () if form is None else build_enrichments(entry, form.enrich, root=root, upcasts=upcasts)
    if form is None or rule is None or attributes is None or len(entry.problems) > before:
        check_examples(entry, rule, None)
        return None
    derivation = Derivation(
        name=form.name,
        rule=rule,
        attributes=attributes,
        data=data,
        enrichments=enrichments,
        upcasts=upcasts,
        paused=form.paused,
        file=entry.file,
        line=entry.line,
    )
    # What a function would look up is not known here.
    check_examples(entry, rule, None if enrichments else lambda event: _reason(derivation, event))
    return None if len(entry.problems) > before else derivation


def _attributes(entry: Entry) -> dict[str, mapping.Template] | None:
    for name in SET_BY_US:
        if entry.get("event", name) is not None:
            entry.problem(
                pointer_to("event", name), f"{name!r} says where the event comes from; it is set here"
            )
    carried = _CARRIED + (_CARRIED_WITH_DATA if entry.get("data") is None else ())
    defaults = {name: {"path": f"$.{name}", "default": None} for name in carried}
    return compile_attributes(
        entry,
        "event",
        root="event",
        defaults={**defaults, "source": f"/tidemill/derived/{entry.name}"},
        enriched=enriched_names(entry),
    )


def _reason(derivation: Derivation, event: Event) -> str | None:
    """Why `event` makes no event; None when it does."""
    try:
        made = derive(derivation, event)
    except (EventRejected, mapping.MappingFailed) as error:
        return str(error)
    if derivation.rule.matches(made):
        return "the event made of it matches again, and so without end"
    return None
