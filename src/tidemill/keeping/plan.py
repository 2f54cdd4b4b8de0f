"""What a project would have started from recorded events, against what was started. Nothing is done and nothing stored.

Admission (limits, debounce, …) depends on when things happen and is not played again: a start is a trigger that takes
an event, with the parameters that its DAG accepts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from tidemill.dag.parameters import ParameterError
from tidemill.events.event import LoggedEvent
from tidemill.keeping.archive import Archived
from tidemill.patterns.index import Index
from tidemill.project.mapping import MappingFailed
from tidemill.project.model import Project, Trigger
from tidemill.project.starting import group_lookup, start_parameters, why_unknown
from tidemill.storage.contract import Became, DispositionKind

__all__ = ["Change", "Difference", "Planner"]


class Difference(StrEnum):
    """How a start differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One start that would be, would not be, or would be another."""

    difference: Difference
    position: int
    trigger: str
    #: What was started, and what would be: the DAG and its parameters, or why not.
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class Planner:
    """Compares what the triggers of `candidate` do with events with what was done, or with what `baseline` does."""

    def __init__(self, candidate: Project, baseline: Project | None = None) -> None:
        self._candidate = _Starts(candidate)
        self._baseline = None if baseline is None else _Starts(baseline)

    def changes(self, past: Iterable[Archived]) -> Iterator[Change]:
        """The differences, in the order of the log."""
        for archived in past:
            if "replayid" in archived.logged.event.extensions:
                continue
            before = self._before(archived)
            after = self._candidate.of(archived.logged)
            for trigger in sorted(before.keys() | after.keys()):
                change = _compare(archived.logged.position, trigger, before.get(trigger), after.get(trigger))
                if change is not None:
                    yield change

    def _before(self, archived: Archived) -> dict[str, dict[str, Any]]:
        if self._baseline is not None:
            return self._baseline.of(archived.logged)
        recorded = {one.disposition.trigger: _recorded(one) for one in archived.became}
        # A trigger that was taken away from the folders is no longer known, and its starts are removed ones.
        return {name: start for name, start in recorded.items() if name not in _ADDRESSED}


#: Stand for events that name their DAG themselves.
_ADDRESSED = frozenset({"schedule", "manual", "retry"})


class _Starts:
    """What the triggers of one project start."""

    def __init__(self, project: Project) -> None:
        self._dags = project.dags
        self._index = Index({trigger.name: trigger.rule for trigger in project.triggers})
        self._triggers = {trigger.name: trigger for trigger in project.triggers}
        self.names = frozenset(self._triggers)

    def of(self, logged: LoggedEvent) -> dict[str, dict[str, Any]]:
        """By trigger."""
        return {name: self._start(self._triggers[name], logged) for name in self._index.match(logged.event)}

    def _start(self, trigger: Trigger, logged: LoggedEvent) -> dict[str, Any]:
        if trigger.paused:
            return {"refused": DispositionKind.PAUSED.value}
        dag = self._dags[trigger.dag]
        if why_unknown(trigger) is not None:
            return {"dag": dag.dag_id}
        try:
            parameters = start_parameters(trigger, dag, group_lookup(trigger, [logged.event]))
        except (MappingFailed, ParameterError):
            return {"refused": DispositionKind.DEAD_LETTERED.value}
        # As they come back from the database.
        return {"dag": dag.dag_id, "parameters": orjson.loads(orjson.dumps(parameters))}


def _recorded(one: Became) -> dict[str, Any]:
    kind = one.disposition.kind
    if kind in (DispositionKind.PAUSED, DispositionKind.DEAD_LETTERED):
        return {"refused": kind.value}
    if kind is not DispositionKind.RUN or one.dag is None or one.parameters is None:
        return {}  # the trigger took it; what with is admission's, or no longer kept
    return {"dag": one.dag, "parameters": orjson.loads(one.parameters)}


def _compare(
    position: int, trigger: str, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> Change | None:
    was, is_now = _starts(before), _starts(after)
    if before is not None and after is not None and was and is_now:
        # Where one side does not know the parameters, what it knows is compared.
        if all(before[name] == after[name] for name in before.keys() & after.keys()):
            return None
        return Change(Difference.CHANGED, position, trigger, before, after)
    if was:
        return Change(Difference.REMOVED, position, trigger, before, after)
    if is_now:
        return Change(Difference.ADDED, position, trigger, before, after)
    return None


def _starts(start: Mapping[str, Any] | None) -> bool:
    return start is not None and "refused" not in start
