"""Another DAG as a run of its own inside of one: `run_dag`, and `definition.run(...)`.

    report = reporting.run(city=city)                                   # a run of `reporting`; its result
    extra = run_dag(choose(city), {"city": city}, on_failure="isolate")  # which DAG, is known when the turn comes

It is started by an event that is recorded with the wait for its end, so that neither is without the other. (A DAG that
is simply called gives its tasks instead: see `groups`.)
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tidemill.dag.handles import Handle
from tidemill.dag.options import check_id
from tidemill.dag.wait_spec import WaitKind, WaitSpec
from tidemill.dag.waits import add_wait, duration_problems, wait_end, wait_options

if TYPE_CHECKING:
    from tidemill.dag.declaration import DagDefinition

__all__ = ["arguments_of", "run_dag"]

#: The completion of a run, compared by its subject: the run.
_RULE = {
    "pattern": {
        "type": [{"wildcard": "dev.tidemill.run.*.v1"}],
        "data": {"state": ["succeeded", "failed", "cancelled"]},
    }
}


def run_dag(
    dag: DagDefinition | str | Any,
    parameters: Mapping[str, Any] | Any = None,
    *,
    on_failure: str = "propagate",
    timeout: timedelta | float | Any = None,
    on_timeout: Any = "fail",
    task_id: str | None = None,
    trigger_rule: Any = None,
    depends_on: Any = None,
) -> Any:
    """Start a run of `dag` with `parameters`, wait for its end, and return its result.

    `dag` is a DAG, its id, or an output or parameter that will be its id. When the run fails or is cancelled, the task
    fails with `RunFailed` or `RunCancelled` ("propagate"); with "isolate" it succeeds with `{"run", "state", "result",
    "error"}` whatever becomes of the run. Cancelling the run that waits cancels the other one. Runs may be nested as
    deep as `max_hops` says. `timeout` and `on_timeout` are those of `wait_for_event`; the other run goes on then.
    """
    dag_id = getattr(dag, "dag_id", dag)
    problems = [
        *_problems(dag_id, parameters, on_failure),
        *duration_problems("timeout", timeout, zero=False, optional=True),
    ]
    end, otherwise = wait_end(on_timeout)
    spec = WaitSpec(
        kind=WaitKind.RUN, rule=_RULE, paths=("subject",), on_timeout=end, isolates=on_failure == "isolate"
    )
    given = {} if parameters is None else parameters
    values = {
        "dag": dag_id,
        "parameters": dict(given) if isinstance(given, Mapping) else given,
        "timeout": timeout,
        **otherwise,
    }
    name = f"run_{dag_id}" if isinstance(dag_id, str) else "run_dag"
    return add_wait(name, spec, values, iter(problems), wait_options(task_id, trigger_rule, depends_on))


def arguments_of(
    definition: DagDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The parameters that a call gives; raises `TypeError` when it does not fit the DAG's function."""
    return dict(inspect.signature(definition.function).bind(*args, **kwargs).arguments)


def _problems(dag_id: object, parameters: object, on_failure: str) -> Iterator[str]:
    if not isinstance(dag_id, Handle):
        yield from check_id("DAG id", dag_id)
    if parameters is not None and not isinstance(parameters, Mapping | Handle):
        yield f"parameters must be values by name, not {type(parameters).__name__}"
    if on_failure not in ("propagate", "isolate"):
        yield f'on_failure must be "propagate" or "isolate", not {on_failure!r}'
