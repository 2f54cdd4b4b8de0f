"""How the events of one run become the one that its mapping sees."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tidemill.events.event import JSON, Event
from tidemill.project.admission import Reduce
from tidemill.project.lookups import event_lookup
from tidemill.project.workflows import FOLDER, siblings

__all__ = ["ReducerProblem", "find_reducer"]

_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*):([A-Za-z_][A-Za-z0-9_]*)\Z")


class ReducerProblem(ValueError):  # noqa: N818 - named as `Problem` is
    """There is no such reducer; the message says why."""


def find_reducer(written: str, root: Path | None) -> tuple[Literal["first", "last"], Reduce | None]:
    """Which event is shown, and what makes its data (None: its own). Raises `ReducerProblem`."""
    match written:
        case "first":
            return "first", None
        case "last":
            return "last", None
        case "all":
            return "last", _all
        case "merge":
            return "last", _merge
        case _:
            return "last", _function(written, root)


def _all(events: Sequence[Event]) -> JSON:
    return [event.data for event in events]


def _merge(events: Sequence[Event]) -> JSON:
    """Members of later objects take the place of earlier ones; data that is no object adds nothing."""
    merged: dict[str, Any] = {}
    for event in events:
        if isinstance(event.data, dict):
            merged.update(event.data)
    return merged


def _function(written: str, root: Path | None) -> Reduce:
    found = _REFERENCE.match(written)
    if found is None or root is None:
        raise ReducerProblem(f"{written!r} is none of first, last, all, merge and MODULE:FUNCTION")
    with siblings((root / FOLDER).absolute()):
        try:
            function = getattr(importlib.import_module(found[1]), found[2], None)
        except Exception as error:
            raise ReducerProblem(f"module {found[1]!r} cannot be imported: {error}") from error
    if not callable(function):
        raise ReducerProblem(f"module {found[1]!r} of {FOLDER}/ has no function {found[2]!r}")

    def reduce(events: Sequence[Event]) -> JSON:
        return function([event_lookup(event).whole() for event in events])

    return reduce
