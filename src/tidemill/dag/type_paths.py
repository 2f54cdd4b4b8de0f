"""What a part of an annotated value is, and whether there certainly is no such part. Pure."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from tidemill.dag.annotations import (
    MAPPINGS,
    NONE,
    UNKNOWN,
    describe,
    fixed_items,
    item_of,
    members,
    value_of,
)
from tidemill.dag.fields import fields_of

__all__ = ["at_path"]


def at_path(annotation: Any, path: Sequence[str | int]) -> tuple[Any, str | None]:
    """What `value[step]...` is, and why there certainly is no such part."""
    for depth, step in enumerate(path):
        found: list[Any] = []
        reasons: list[str] = []
        alternatives = [one for one in members(annotation) if one is not NONE]
        if not alternatives:
            return UNKNOWN, None
        for member in alternatives:
            inner, reason = _step(member, step)
            if reason is None:
                found.append(inner)
            else:
                reasons.append(reason)
        if not found:
            place = "".join(f"[{one!r}]" for one in path[: depth + 1])
            return UNKNOWN, f"{place}: {reasons[0]}"
        annotation = found[0] if len(found) == 1 else typing.Union[tuple(found)]  # noqa: UP007
    return annotation, None


def _step(annotation: Any, step: str | int) -> tuple[Any, str | None]:
    fields = fields_of(annotation)
    if fields is not None:
        if isinstance(step, int):
            return UNKNOWN, f"{fields.name} has names, not positions"
        field = fields.items.get(step)
        if field is not None:
            return field.annotation, None
        if fields.is_open or fields.is_renamed:
            return UNKNOWN, None
        return UNKNOWN, f"{fields.name} has no {step!r} (it has {_names(fields.items)})"
    known = typing.get_origin(annotation) or annotation
    if known in (bool, int, float, datetime, date):
        return UNKNOWN, f"{describe(annotation)} has no parts"
    if known is str and isinstance(step, str):
        return UNKNOWN, f"{describe(annotation)} has no names"
    if known in (list, tuple):
        if isinstance(step, str):
            return UNKNOWN, f"{describe(annotation)} has positions, not names"
        fixed = fixed_items(annotation)
        if fixed is not None and not -len(fixed) <= step < len(fixed):
            return UNKNOWN, f"{describe(annotation)} has no item {step}"
        return (fixed[step] if fixed is not None else item_of(annotation)), None
    if known in MAPPINGS:
        return value_of(annotation), None
    return UNKNOWN, None


def _names(items: Mapping[str, Any]) -> str:
    names = ", ".join(repr(name) for name in list(items)[:8])
    return names + (", ..." if len(items) > 8 else "") if names else "nothing"
