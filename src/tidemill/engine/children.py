"""Runs that begin inside of others: the event that starts one is recorded with the wait for its end.

What could keep such a run from beginning (an unknown DAG, wrong parameters, too many inside of each other) fails the
task that wants it, before anything is recorded: nobody waits for a run that never comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pydantic

from tidemill.dag.definition import Dag
from tidemill.dag.parameters import ParameterError
from tidemill.dag.wait_spec import WaitKind
from tidemill.engine.live import LiveRun
from tidemill.errors import TaskFailed
from tidemill.events.event import Event
from tidemill.events.lifecycle import dag_requested, dag_source
from tidemill.ids import run_id
from tidemill.runs.records import TaskWaiting
from tidemill.runs.waits import Child

__all__ = ["child_of", "children_of", "requests"]

#: Name under which runs that are asked for by event are started.
_TRIGGER = "manual"


def child_of(
    live: LiveRun, index: int, values: Mapping[str, Any], *, dags: Mapping[str, Dag], max_hops: int
) -> Child:
    """The run that a wait is for; raises `TaskFailed` when it cannot be started. Its id follows from the wait."""
    name = values["dag"]
    dag = dags.get(name) if isinstance(name, str) else None
    if dag is None:
        raise TaskFailed("UnknownDag", f"there is no DAG {name!r}"[:1000])
    if live.run.hop_count + 1 > max_hops:
        raise TaskFailed("NestedTooDeep", f"more than {max_hops} runs inside of each other were stopped")
    parameters = values["parameters"]
    if not isinstance(parameters, Mapping):
        raise TaskFailed(
            "InvalidParameters", f"parameters must be an object, not {type(parameters).__name__}"
        )
    try:
        plain = orjson.loads(orjson.dumps(dict(parameters), default=_plain))
        dag.parameters.validate(plain)
    except (ParameterError, TypeError) as error:
        raise TaskFailed("InvalidParameters", f"DAG {name!r}: {error}") from error
    request = f"{live.run_id}/{live.state.name(index)}"
    child = run_id(_TRIGGER, dag_source(name), request, live.at)
    return Child(run_id=child, dag=name, parameters=plain, request=request)


def requests(live: LiveRun) -> list[Event]:
    """The events that start the runs which the records now wait for."""
    return [
        _request(live, record)
        for record in live.records
        if isinstance(record, TaskWaiting) and record.detail.get("kind") == WaitKind.RUN
    ]


def children_of(live: LiveRun) -> Iterator[str]:
    """Runs that a live run waits for."""
    known = live.state.unfolding
    for _, detail in known.waits.values() if known is not None else ():
        if detail.get("kind") == WaitKind.RUN:
            yield detail["run"]


def _plain(value: Any) -> Any:
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"a {type(value).__name__} is not a JSON value")


def _request(live: LiveRun, record: TaskWaiting) -> Event:
    run, detail = live.run, record.detail
    return dag_requested(
        dag=detail["dag"],
        parameters=detail["parameters"],
        id=detail["request"],
        by=f"run {run.run_id}",
        at_us=live.at,
        parent=(run.run_id, record.task),
        correlation_id=run.correlation_id,
        hop_count=run.hop_count + 1,
        traceparent=run.traceparent,
    )
