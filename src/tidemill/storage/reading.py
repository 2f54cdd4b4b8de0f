"""What the aggregates need of a database to read from it: rows of named queries, whatever its dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["Condition", "Reading", "placed", "wanted"]

#: A condition with `{}` in place of its value, and the value; None leaves the condition out.
Condition = tuple[str, Any]


class Reading(Protocol):
    """Raises `StorageError` like everything else of a store, or the database's own errors where it is a file."""

    async def rows(self, query: str, *values: Any, where: Sequence[Condition] = ()) -> list[tuple[Any, ...]]:
        """All rows of a named query; `where` replaces its marker. A set of numbers or texts is one value."""

    def member(self, name: str) -> str:
        """The expression that gives an attribute of a stored event."""


def wanted(where: Sequence[Condition]) -> list[Condition]:
    """The conditions that have a value."""
    return [condition for condition in where if condition[1] is not None]


def placed(where: Sequence[Condition], mark: str, first: int) -> str:
    """The conditions as SQL whose numbered placeholders begin with `mark` and go on from `first`."""
    return "".join(f" AND {text.format(f'{mark}{place}')}" for place, (text, _) in enumerate(where, first))
