"""Tasks that are called because of what became of others: callbacks, and what undoes what was done.

They are tasks of the graph like any other, and decide nothing of the run's fate.
"""

from __future__ import annotations

from typing import Any

from tidemill.dag.declaration import DagDefinition
from tidemill.dag.edges import Edge, EdgeKind
from tidemill.dag.handles import Output
from tidemill.dag.options import listed
from tidemill.dag.recording import Call, Group, Recording
from tidemill.dag.task import Task

__all__ = ["add_callbacks", "add_group_callbacks", "join_callbacks"]

_FATES = ("failure", "success")


def add_callbacks(definition: DagDefinition, recording: Recording) -> None:
    """Record the callbacks and the compensation of every task recorded so far, then the callbacks of the DAG."""
    _add_spawned(recording)
    for call in list(recording.calls):
        with recording.inside(call.group):
            _add_callbacks_of(call, recording)
            _add_compensation(call, recording)
    add_group_callbacks(definition, recording, recording.group)


def _add_spawned(recording: Recording) -> None:
    """Record what tasks may ask for, and what that may ask for in turn."""
    for call in recording.calls:  # grows while it is walked
        for task in listed(call.task.options.spawns):
            if isinstance(task, Task) or task == "self":
                recording.template(call, task if isinstance(task, Task) else call.task)
            else:
                recording.refuse(
                    f'task {call.task_id!r}: spawns must list tasks or "self", not {type(task).__name__}',
                    call.line,
                )


def add_group_callbacks(definition: DagDefinition, recording: Recording, group: Group) -> None:
    """Record the callbacks of a DAG that was called, or of the whole."""
    for fate in _FATES:
        for callback in listed(getattr(definition.options, f"on_{fate}")):
            made = _add(callback, f"on_{fate}", recording, None)
            if made is not None:
                made.fate = fate  # type: ignore[assignment]


def join_callbacks(recording: Recording) -> None:
    """Let what follows from a fate wait for everything that decides it, once all dependencies are known."""
    waiting = [call for call in recording.calls if call.fate is not None]
    if not waiting:
        return
    deciding = [call for call in recording.calls if call.fate is None and call.setups is None]
    for call in waiting:
        scope = call.group
        if call.setups is not None:
            while scope.outer is not None and not scope.compensates:
                scope = scope.outer  # undone when what asked for it fails: the nearest such group, or the run
        inside = [one for one in deciding if scope.holds(one.group) and _counts(one, scope)]
        above = {source for one in inside for source in one.after}
        call.fate_of = [one for one in inside if one not in above]
        call.after.update(dict.fromkeys(call.fate_of))
    _order_compensations(recording)


def _counts(call: Call, scope: Group) -> bool:
    """Whether a task decides the fate of a group: an isolated group's own tasks decide that of the group."""
    return call.decides or (scope.isolates and not call.is_callback)


def _order_compensations(recording: Recording) -> None:
    """What was done last is undone first."""
    undoing = {call.setups[0]: call for call in recording.calls if call.fate is not None and call.setups}
    if len(undoing) < 2:
        return
    below: dict[Call, set[Call]] = {}
    for call in _last_first(recording.calls):
        found = below.setdefault(call, set())
        for source in call.after:
            mine = below.setdefault(source, set())
            mine |= found
            if call in undoing:
                mine.add(call)
    for done, undo in undoing.items():
        for later in below.get(done, ()):
            undo.after[undoing[later]] = None


def _last_first(calls: list[Call]) -> list[Call]:
    """Calls so that each comes before what it waits for; those in a cycle, which is refused anyway, are left out."""
    missing = dict.fromkeys(calls, 0)
    for call in calls:
        for source in call.after:
            missing[source] = missing.get(source, 0) + 1
    ready = [call for call in calls if not missing[call]]
    order: list[Call] = []
    while ready:
        call = ready.pop()
        order.append(call)
        for source in call.after:
            missing[source] -= 1
            if not missing[source]:
                ready.append(source)
    return order


def _add_callbacks_of(call: Call, recording: Recording) -> None:
    name = call.task_id.removeprefix(call.group.prefix)
    for fate in _FATES:
        for callback in listed(getattr(call.task.options, f"on_{fate}")):
            made = _add(callback, f"{name}.on_{fate}", recording, call.line)
            if made is not None:
                made.after[call] = None
                if fate == "failure":
                    made.edges[call] = Edge(EdgeKind.FAILURE)


def _add_compensation(call: Call, recording: Recording) -> None:
    callback = call.task.options.compensate
    if callback is None:
        return
    name = call.task_id.removeprefix(call.group.prefix)
    made = _add(callback, f"{name}.compensate", recording, call.line, Output(call))
    if made is not None:
        made.setups, made.fate = [call], "failure"


def _add(callback: Any, name: str, recording: Recording, line: int | None, *args: Any) -> Call | None:
    prefix = recording.group.prefix
    if not isinstance(callback, Task):
        recording.refuse(f"{prefix}{name} must be a task, not {type(callback).__name__}", line)
        return None
    known = {call.task_id for call in recording.calls}
    if callback.options.task_id is None:
        number = 1
        while prefix + (task_id := name if number == 1 else f"{name}_{number}") in known:
            number += 1
        callback = callback.override(task_id=task_id)
    call: Call = recording.add(callback, args, {}).call
    call.decides, call.is_callback = False, True
    return call
