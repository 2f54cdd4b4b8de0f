"""Templates of an event's attributes and data in a definition: what of them could never make an event is told."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from tidemill.events import lifecycle
from tidemill.events.event import JSON
from tidemill.project import mapping
from tidemill.project.entry import Entry, pointer_to

__all__ = ["check_type", "compile_attributes", "compile_data", "note_problems"]

#: CloudEvents attribute names (section 3.1), of a length that fits a header and a column.
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}\Z")
_SET_BY_US = {"specversion": "is always 1.0", "data": "stands beside event, not in it"}


def compile_attributes(
    entry: Entry,
    *keys: str,
    root: mapping.Root,
    defaults: Mapping[str, JSON] | None = None,
    enriched: Collection[str] = (),
) -> dict[str, mapping.Template] | None:
    """The templates at `keys` of the entry, with `defaults` for those not written; None when there are none.

    Everything wrong with them is noted.
    """
    written = entry.get(*keys)
    if not isinstance(written, dict):
        return None
    _check_attributes(entry, keys, written)
    try:
        found = mapping.compile_mapping(written, root=root, enriched=enriched)
    except mapping.MappingProblem as error:
        note_problems(entry, pointer_to(*keys), error)
        return None
    _check_constants(entry, keys, found)
    return {**mapping.compile_mapping(defaults or {}, root=root).templates, **found.templates}


def compile_data(
    entry: Entry, *keys: str, root: mapping.Root, enriched: Collection[str] = ()
) -> mapping.Template | None:
    """The template at `keys`; None when there is none, or something is wrong with it, which is noted."""
    if (written := entry.get(*keys)) is None:
        return None
    try:
        return mapping.compile_template(written, root=root, enriched=enriched)
    except mapping.MappingProblem as error:
        note_problems(entry, pointer_to(*keys), error)
        return None


def check_type(entry: Entry, at: str, written: object) -> None:
    """Note a type at the pointer `at` that is one of our own."""
    if isinstance(written, str) and written.startswith(lifecycle.RESERVED_PREFIX):
        entry.problem(
            at, f"types that begin with {lifecycle.RESERVED_PREFIX} are Tidemill's own; choose another"
        )


def note_problems(entry: Entry, at: str, error: mapping.MappingProblem) -> None:
    """Note what is wrong with the template at the pointer `at`."""
    for pointer, message in error.problems:
        entry.problem(at + pointer, message)


def _check_attributes(entry: Entry, keys: tuple[str, ...], event: dict[str, JSON]) -> None:
    if event.get("type") is None:
        entry.problem(pointer_to(*keys), "'type' is missing: every event has a type")
    for name, value in event.items():
        at = pointer_to(*keys, name)
        if name in _SET_BY_US:
            entry.problem(at, f"{name!r} {_SET_BY_US[name]}")
        elif not _ATTRIBUTE.match(name):
            entry.problem(at, f"{name!r} is no attribute name: lower-case letters and digits only")
        if _has_parts(value) or (value is None and name != "type"):
            entry.problem(
                at, f"{name!r} must be text, a whole number or true/false: an attribute has no parts"
            )
    check_type(entry, pointer_to(*keys, "type"), event.get("type"))


def _has_parts(value: JSON) -> bool:
    """Whether a template's value is never a CloudEvents attribute value (section 3.1)."""
    if isinstance(value, dict):
        return set(value) not in ({"path", "default"}, {"cel"}, {"cel", "default"})
    return isinstance(value, list | float)


def _check_constants(entry: Entry, keys: tuple[str, ...], attributes: mapping.Mapping) -> None:
    for name in ("id", "type", "source"):
        template = attributes.templates.get(name)
        if template is None or not template.is_constant:
            continue
        at = pointer_to(*keys, name)
        if name == "id":
            cause = "the request" if keys[0] == "webhook" else "the event"
            entry.problem(at, f"'id' must come from {cause}: a constant makes all events one")
        elif not isinstance(template.written, str) or not template.written:
            entry.problem(at, f"{name!r} must be text and not empty")
