"""A DAG called inside another one: its tasks become tasks of the caller, under its name.

    cleaned = clean(orders)                              # tasks `clean.parse`, `clean.check`, ...
    extra = enrich.group(on_failure="isolate")(cleaned)  # its failure is not the caller's

Its `default_retry`, `task_defaults` and callbacks hold inside; its schedule, triggers and limits of runs are those of
its own runs only. It may call further ones, and itself with other constants, up to `MAX_DEPTH` deep.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

from tidemill.dag.callbacks import add_group_callbacks
from tidemill.dag.options import check_id
from tidemill.dag.recording import Group, Recording

if TYPE_CHECKING:
    from tidemill.dag.declaration import DagDefinition

__all__ = ["FAILURE_POLICIES", "MAX_DEPTH", "FailurePolicy", "call_inside"]

#: Deepest nesting of DAGs in one another.
MAX_DEPTH = 16

FailurePolicy = Literal["propagate", "isolate", "compensate"]
FAILURE_POLICIES: tuple[FailurePolicy, ...] = ("propagate", "isolate", "compensate")


def call_inside(
    definition: DagDefinition,
    recording: Recording,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    name: str | None = None,
    policy: FailurePolicy = "propagate",
) -> Any:
    """Record the tasks of `definition` in `recording`; what its function returned."""
    outer = recording.group
    if outer.depth >= MAX_DEPTH:
        recording.refuse(
            f"DAG {definition.dag_id!r} is nested deeper than {MAX_DEPTH} levels; does it call itself?"
        )
        return None
    if policy not in FAILURE_POLICIES:
        recording.refuse(f"on_failure must be one of {', '.join(FAILURE_POLICIES)}, not {policy!r}")
    for message in check_id("group", definition.dag_id if name is None else name):
        recording.refuse(message)
    try:
        bound = inspect.signature(definition.function).bind(*args, **kwargs)
    except TypeError as error:
        recording.refuse(f"DAG {definition.dag_id!r}: {error}")
        return None
    bound.apply_defaults()
    options = definition.options
    group = Group(
        recording.name_group(name or definition.dag_id),
        depth=outer.depth + 1,
        outer=outer,
        default_retry=options.default_retry or outer.default_retry,
        defaults={**outer.defaults, **(options.task_defaults or {})},
        isolates=outer.isolates or policy == "isolate",
        compensates=policy == "compensate",
    )
    with recording.inside(group):
        output = definition.function(*bound.args, **bound.kwargs)
        add_group_callbacks(definition, recording, group)
    return output
