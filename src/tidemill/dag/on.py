"""Triggers that stand beside their DAG: what a definition file would say, kept as it was written.

Nothing is checked here: a project checks them as it checks those of its files.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

__all__ = ["On", "trigger"]


@dataclass(frozen=True, slots=True)
class On:
    """One trigger as written, with its line."""

    #: Fields of a trigger by name, as in a definition file, without `dag`.
    written: Mapping[str, Any]
    line: int = field(default=0, compare=False)


def trigger(
    name: str | None = None,
    *,
    filters: Sequence[Mapping[str, Any]] | None = None,
    pattern: Mapping[str, Any] | None = None,
    cesql: str | None = None,
    cel: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    enrich: Mapping[str, Any] | None = None,
    admission: Mapping[str, Any] | None = None,
    loops: str | int | None = None,
    paused: bool | None = None,
    examples: Mapping[str, Any] | None = None,
) -> On:
    """A trigger for `@dag(on=...)`: the fields of a trigger in a definition file, with the same meaning.

    `name` defaults to the DAG's id, with a number from the second one on. Durations may be timedeltas. Raises
    `TypeError` for a value that is not plain data.
    """
    fields = {
        "name": name,
        "filters": filters,
        "pattern": pattern,
        "cesql": cesql,
        "cel": cel,
        "parameters": parameters,
        "enrich": enrich,
        "admission": admission,
        "loops": loops,
        "paused": paused,
        "examples": examples,
    }
    caller = sys._getframe(1)  # noqa: SLF001 - documented; `inspect.stack` reads files
    return On({name: _plain(value) for name, value in fields.items() if value is not None}, caller.f_lineno)


def _plain(value: Any) -> Any:
    """The value as a definition file would give it."""
    match value:
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {name: _plain(member) for name, member in value.items()}
        case list() | tuple():
            return [_plain(member) for member in value]
        case None | str() | bool() | int() | float():
            return value
        case _:
            raise TypeError(f"trigger: {type(value).__name__} is nothing that a definition file could say")
