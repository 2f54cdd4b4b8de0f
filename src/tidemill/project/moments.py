"""Moments as people write them: `2026-12-24`, `2026-12-24T18:00`, `2026-12-24T18:00:00+01:00`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

__all__ = ["Moment", "parse_moment"]


def parse_moment(value: object) -> datetime:
    """`value` as an aware time, UTC where it names no offset; raises `ValueError` saying how to write one."""
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found
    raise ValueError("must be a date or a time such as 2026-12-24T18:00:00+01:00 (UTC without an offset)")


_SCHEMA: dict[str, Any] = {
    "type": "string",
    "description": "Date or time such as 2026-12-24T18:00:00+01:00; UTC without an offset.",
    "examples": ["2026-01-01", "2026-12-24T18:00:00+01:00"],
}

#: A date or time in a definition file.
Moment = Annotated[datetime, BeforeValidator(parse_moment), WithJsonSchema(_SCHEMA)]
