"""The arguments of one attempt, context included, wherever they are made: beside the engine or on a worker. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tidemill.dag.binding import Arguments, Results, resolve
from tidemill.dag.context import Context
from tidemill.dag.definition import Dag, TaskNode
from tidemill.events.event import Event
from tidemill.events.lifecycle import Type
from tidemill.runs.inputs import DecodedResults, GivenResults
from tidemill.runs.spawning import Spawned

__all__ = ["make_arguments", "make_context"]


def make_arguments(
    run_id: str,
    dag: Dag,
    *,
    node: TaskNode,
    number: int,
    results: Results,
    parameters: Mapping[str, Any],
    event: Event | None,
    task_id: str = "",
    item: Mapping[str, Any] | None = None,
    spawned: Spawned | None = None,
) -> Arguments:
    """What the function is called with; `parameters` are the DAG's types.

    `task_id` is the task run's name and `item` its own arguments, where it is one of a map; `spawned` collects what it
    asks for.

    Raises what the resolution raises (a path that a result does not have): the attempt failed.
    """
    if dag.decoders is not None and not isinstance(results, GivenResults):
        results = DecodedResults(results, dag.decoders)
    args, kwargs = resolve(node, results, parameters) if node.has_references else (node.args, node.kwargs)
    if item is not None:
        kwargs = {**kwargs, **item}
    if node.context_parameter is not None:
        context = make_context(
            run_id,
            dag,
            task_id=task_id or node.task_id,
            number=number,
            parameters=parameters,
            event=event,
            spawned=spawned,
        )
        kwargs = {**kwargs, node.context_parameter: context}
    return args, kwargs


def make_context(
    run_id: str,
    dag: Dag,
    *,
    task_id: str,
    number: int,
    parameters: Mapping[str, Any],
    event: Event | None,
    spawned: Spawned | None = None,
) -> Context:
    """What the task may know about this attempt."""
    return Context(
        run_id=run_id,
        dag_id=dag.dag_id,
        task_id=task_id,
        attempt=number,
        idempotency_key=f"{run_id}/{task_id}",
        event=event,
        parameters=parameters,
        spawner=spawned,
        **_interval(event),
    )


def _interval(event: Event | None) -> dict[str, Any]:
    """The scheduled interval that a tick stands for."""
    if event is None or event.type != Type.SCHEDULE_TICK:
        return {}
    names = ("scheduled_at", "interval_start", "interval_end")
    return {name: datetime.fromisoformat(event.data[name]) for name in names}
