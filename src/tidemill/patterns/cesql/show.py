"""Why a CESQL expression is true or not for an event: its parts with their values and errors. Pure."""

from __future__ import annotations

from tidemill.events.event import Event
from tidemill.patterns.cesql.evaluate import compile_node, value_of
from tidemill.patterns.cesql.syntax import Exists, Logic, Name, Node, Unary, parts_of
from tidemill.patterns.explanation import Explanation

__all__ = ["names_of", "show"]


def show(node: Node, text: str, event: Event) -> Explanation:
    """The explanation of `node`, which was written in `text`, for `event`."""
    value, errors = value_of(compile_node(node), event)
    names = names_of(node)
    joins = isinstance(node, Logic) or (isinstance(node, Unary) and node.operator == "NOT")
    notes = [] if isinstance(value, bool) else [f"is {value!r}"]
    return Explanation(
        "expression",
        holds=value is True and not errors,
        path=", ".join(names),
        condition=text[node.span.start : node.span.end],
        found=tuple(read for name in names if (read := event.attribute(name)) is not None),
        note="; ".join([*notes, *dict.fromkeys(f"{error.kind}: {error.message}" for error in errors)]),
        parts=tuple(show(part, text, event) for part in parts_of(node)) if joins else (),
    )


def names_of(node: Node) -> list[str]:
    """The attributes that `node` reads, in order, once each."""
    found: dict[str, None] = {}
    pending = [node]
    while pending:
        one = pending.pop()
        if isinstance(one, Name | Exists):
            found[one.name] = None
        pending.extend(reversed(parts_of(one)))
    return list(found)
