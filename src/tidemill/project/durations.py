"""Durations as people write them: `500ms`, `2s`, `5m`, `1h`, `7d`, or a number of seconds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

__all__ = ["DURATION_PATTERN", "Duration", "parse_duration"]

DURATION_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d)$"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WRITTEN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)\Z")
#: Longest duration a definition may name, in seconds (ten years).
_LONGEST = 3650 * 86400.0


def parse_duration(value: object) -> timedelta:
    """`value` as a duration; raises `ValueError` saying how to write one."""
    if isinstance(value, str) and (found := _WRITTEN.match(value)):
        seconds = float(found[1]) * _UNITS[found[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise ValueError("must be a duration: 500ms, 2s, 5m, 1h, 7d or a number of seconds")
    if not 0 < seconds <= _LONGEST:
        raise ValueError("must be a duration greater than zero and of at most ten years")
    return timedelta(seconds=seconds)


_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"type": "number", "exclusiveMinimum": 0}],
    "description": "500ms, 2s, 5m, 1h, 7d, or a number of seconds.",
}

#: A duration in a definition file.
Duration = Annotated[timedelta, BeforeValidator(parse_duration), WithJsonSchema(_SCHEMA)]
