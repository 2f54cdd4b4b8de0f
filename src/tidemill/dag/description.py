"""A version of a DAG as plain JSON values: what people compare and programs read. Pure.

Only what is not the default is told of a task, so that a new option changes no older description.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tidemill.dag.annotations import annotations_of, describe
from tidemill.dag.definition import Dag, Schedule, TaskNode
from tidemill.dag.picture.drawing import drawing_of, note_of
from tidemill.dag.policy import DEFAULT_POLICY
from tidemill.dag.resources import NO_RESOURCES
from tidemill.dag.retry import Retry

__all__ = ["described"]


def described(dag: Dag) -> dict[str, Any]:
    """What there is to know of a version."""
    drawing = drawing_of(dag)
    names = [node.task_id for node in dag.tasks]
    return {
        "dag": dag.dag_id,
        "version": dag.version,
        "options": _options(dag),
        "parameters": _parameters(dag),
        "tasks": {node.task_id: _task(node) for node in dag.tasks},
        "edges": [
            {
                "upstream": names[line.above],
                "downstream": names[line.below],
                "kind": line.kind.value,
                "condition": line.label,
            }
            for line in drawing.lines
        ],
        "file": dag.file,
        "source": dag.source,
        "modules": None if dag.modules is None else dict(dag.modules),
    }


def _options(dag: Dag) -> dict[str, str]:
    written = {
        "schedule": _schedule(dag.schedule),
        "max_active_runs": dag.max_active_runs,
        "max_active_tasks": dag.max_active_tasks,
        "description": dag.description,
        "tags": ", ".join(dag.tags),
        "triggers": len(dag.on) or None,
    }
    return {name: _shown(value) for name, value in written.items() if value not in (None, "")}


def _schedule(schedule: Schedule | None) -> str | None:
    if schedule is None:
        return None
    return _changed(schedule, _PLAIN_SCHEDULE)


def _parameters(dag: Dag) -> dict[str, str]:
    """Name to type, with the default where there is one."""
    schema = dag.parameters.json_schema()
    defaults = schema.get("properties", {})
    required = set(schema.get("required", ()))
    return {
        name: describe(annotation)
        + ("" if name in required else f" = {_shown(defaults.get(name, {}).get('default', '...'))}")
        for name, annotation in dag.parameters.annotations.items()
    }


def _task(node: TaskNode) -> dict[str, str]:
    written: dict[str, Any] = {
        "function": getattr(node.function, "__qualname__", type(node.function).__name__),
        "executor": node.executor,
        "returns": _returns(node),
        "retry": _changed(node.retry, _PLAIN_RETRY),
        "timeout": node.timeout,
        "policy": _changed(node.policy, DEFAULT_POLICY),
        "resources": _changed(node.resources, NO_RESOURCES),
        "meaning": _meaning(node),
    }
    return {name: _shown(value) for name, value in written.items() if value not in (None, "")}


def _meaning(node: TaskNode) -> str:
    notes = [note_of(node)]
    if node.mapped is not None and node.mapped.min_success is not None:
        notes.append(f"min_success {node.mapped.min_success}")
    if not node.decides:
        notes.append("does not decide")
    return ", ".join(note for note in notes if note)


def _returns(node: TaskNode) -> str:
    found: Mapping[str, Any] = annotations_of(node.function)
    return describe(found["return"]) if "return" in found else ""


def _changed(value: Any, plain: Any) -> str:
    """The fields of a record that are not those of `plain`."""
    changed = [
        f"{field.name}={_shown(getattr(value, field.name))}"
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != getattr(plain, field.name)
    ]
    return ", ".join(changed)


def _shown(value: Any) -> str:
    match value:
        case timedelta():
            return f"{value.total_seconds():g} s"
        case datetime():
            return value.isoformat()
        case str():
            return str(value)
        case _:
            return repr(value)


_PLAIN_RETRY = Retry()
_PLAIN_SCHEDULE = Schedule(
    cron=None, interval=None, start_date=None, end_date=None, catchup=False, timezone="UTC"
)
