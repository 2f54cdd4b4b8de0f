"""The keyword `x-tidemill` of a schema: whose data it describes, what a violation means, how old data is cast."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from tidemill.events.event import JSON
from tidemill.project import mapping
from tidemill.project.entry import pointer_to, suggestion

__all__ = ["KEYWORD", "SchemaUse", "read_use"]

KEYWORD = "x-tidemill"

_FIELDS = ("types", "on_violation", "upcast")
_REACTIONS = ("refuse", "warn")


@dataclass(slots=True)
class SchemaUse:
    """What one schema says of itself."""

    types: tuple[str, ...] = ()
    on_violation: Literal["refuse", "warn"] = "refuse"
    #: `$id` of the newer schema; empty when this is the newest.
    upcast_to: str = ""
    upcast: mapping.Template | None = None
    #: (JSON pointer in the schema's file, message) of everything wrong.
    problems: list[tuple[str, str]] = field(default_factory=list)


def read_use(schema: JSON, *, known: Collection[str]) -> SchemaUse:
    """What `schema` says under the keyword; `known` holds the `$id` of every schema of the folder."""
    use = SchemaUse()
    written = schema.get(KEYWORD)
    if written is None:
        return use
    if not isinstance(written, dict):
        use.problems.append((pointer_to(KEYWORD), f"{KEYWORD!r} must be a mapping of names to values"))
        return use
    for name in written:
        if name not in _FIELDS:
            message = f"unknown field {name!r}{suggestion(name, _FIELDS)}"
            use.problems.append((pointer_to(KEYWORD, name), message))
    _read_types(written.get("types", []), use)
    _read_reaction(written.get("on_violation", "refuse"), use)
    if "upcast" in written:
        _read_upcast(written["upcast"], use, known)
    return use


def _read_types(written: Any, use: SchemaUse) -> None:
    if isinstance(written, list) and all(isinstance(name, str) and name for name in written):
        use.types = tuple(written)
    else:
        use.problems.append((pointer_to(KEYWORD, "types"), "'types' must be a list of event types"))


def _read_reaction(written: Any, use: SchemaUse) -> None:
    if written in _REACTIONS:
        use.on_violation = cast('Literal["refuse", "warn"]', written)
    else:
        use.problems.append(
            (pointer_to(KEYWORD, "on_violation"), "'on_violation' must be 'refuse' or 'warn'")
        )


def _read_upcast(written: Any, use: SchemaUse, known: Collection[str]) -> None:
    at = pointer_to(KEYWORD, "upcast")
    if not isinstance(written, dict) or set(written) != {"to", "data"}:
        use.problems.append((at, "'upcast' has 'to', the newer schema's $id, and 'data', a template"))
        return
    to = written["to"]
    if isinstance(to, str) and to in known:
        use.upcast_to = to
    else:
        hint = suggestion(to, known) if isinstance(to, str) else ""
        use.problems.append((f"{at}/to", f"there is no schema {to!r} to cast to{hint}"))
    try:
        use.upcast = mapping.compile_template(written["data"])
    except mapping.MappingProblem as error:
        use.problems.extend((f"{at}/data{pointer}", text) for pointer, text in error.problems)
