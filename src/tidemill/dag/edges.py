"""What a task waits for beside the success of another one: its failure, its end, or a condition on its result.

    failure_of(load) >> repair          # when `load` failed, or could never start
    completion_of(load) >> report       # however it ended
    when(load, lambda rows: rows > 0) >> publish
    switch(detect["kind"], {"csv": read_csv_output, "json": read_json_output}, default=reject_output)

Here is what an edge is and how it is written; what follows from it is decided in `runs`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from tidemill.dag.handles import Output, outputs_of, path_of

__all__ = [
    "Condition",
    "Edge",
    "EdgeKind",
    "Origin",
    "chain",
    "completion_of",
    "failure_of",
    "join",
    "spawned",
    "switch",
    "when",
]

T = TypeVar("T")


class EdgeKind(StrEnum):
    """What of an upstream task counts as success for the one below."""

    SUCCESS = "success"
    #: Its end, whatever it was.
    COMPLETION = "completion"
    #: Its failure; its success counts as skipped.
    FAILURE = "failure"
    #: Its success with a result that fulfils a condition; another result counts as skipped.
    CONDITION = "condition"


@dataclass(frozen=True, slots=True)
class Condition:
    """A question about a result; exactly one of the first three is given."""

    #: Pure: called with the result, and the run's parameters where it takes two arguments.
    function: Callable[..., Any] | None = field(default=None, compare=False)
    #: A CEL expression over `result` and `parameters`.
    expression: str | None = None
    #: The part at `path` is one of these; or, with `is_default`, none of them.
    values: tuple[Any, ...] | None = None
    is_default: bool = False
    path: tuple[str | int, ...] = ()

    def describe(self) -> str:
        """The condition in one line."""
        if self.function is not None:
            return getattr(self.function, "__qualname__", "function").removeprefix("<lambda>") or "function"
        if self.expression is not None:
            return self.expression
        part = "result" + "".join(f"[{step!r}]" for step in self.path)
        wanted = ", ".join(repr(value) for value in self.values or ())
        return f"{part} is {'none of ' if self.is_default else ''}{wanted}"


@dataclass(frozen=True, slots=True)
class Edge:
    """What a task takes for the success of one of its upstream tasks."""

    kind: EdgeKind
    condition: Condition | None = None


class Origin:
    """An upstream task and what of it counts; `origin >> task` makes the task wait for that."""

    __slots__ = ("edge", "output")

    def __init__(self, output: Output, edge: Edge) -> None:
        self.output = output
        self.edge = edge

    def __rshift__(self, other: T) -> T:
        for target in outputs_of(other, ">>"):
            join(self, target)
        return other

    def __repr__(self) -> str:
        return f"<{self.edge.kind} of task {self.output.task_id!r}>"


def join(origin: Origin, target: Output) -> None:
    """Make the task of `target` wait for `origin`."""
    target.call.after[origin.output.call] = None
    target.call.edges[origin.output.call] = origin.edge


def failure_of(output: Output) -> Origin:
    """What waits for it starts when the task failed or could not start, and is skipped when it succeeded."""
    return Origin(_output(output, "failure_of"), Edge(EdgeKind.FAILURE))


def completion_of(output: Output) -> Origin:
    """What waits for it starts when the task has ended, however it ended."""
    return Origin(_output(output, "completion_of"), Edge(EdgeKind.COMPLETION))


def when(output: Output, condition: Callable[..., Any] | str) -> Origin:
    """What waits for it starts when the task succeeded with a result that fulfils `condition`, else is skipped.

    A condition is a pure function of the result (and of the run's parameters, with two arguments), or a CEL
    expression over `result` and `parameters`. It is asked once, and its answer is recorded; what raises counts
    as a failure of the task above.
    """
    given = _output(output, "when")
    path = path_of(given)
    if isinstance(condition, str):
        made = Condition(expression=condition, path=path)
    elif callable(condition):
        made = Condition(function=condition, path=path)
    else:
        raise TypeError(f"when() takes a function or an expression, not {type(condition).__name__}")
    return Origin(given, Edge(EdgeKind.CONDITION, made))


def switch(value: Output, cases: Mapping[Any, Output | list[Output]], *, default: Any = None) -> None:
    """Start the tasks under the key that `value` equals, those of `default` when it equals none; skip the others."""
    given = _output(value, "switch")
    path, keys = path_of(given), tuple(cases)
    for key, targets in cases.items():
        Origin(given, Edge(EdgeKind.CONDITION, Condition(values=(key,), path=path))) >> targets
    if default is not None:
        rest = Condition(values=keys, is_default=True, path=path)
        Origin(given, Edge(EdgeKind.CONDITION, rest)) >> default


def spawned(output: Output, task: Any) -> Output:
    """The results, as a list, of the task runs of `task` that the task of `output` asks for (`Context.spawn`)."""
    given = _output(output, "spawned")
    listed = given.call.task.options.spawns
    known = listed if isinstance(listed, list | tuple) else [listed]
    function = getattr(task, "function", task)
    is_own = "self" in known and given.call.task.function is function
    if not is_own and not any(getattr(one, "function", None) is function for one in known):
        raise TypeError(f"{task!r} is not in spawns= of task {given.task_id!r}")
    return given.call.recording.template(given.call, task)


def chain(*steps: Any) -> None:
    """Make each step wait for the one before: `chain(a, [b, c], d)`; lists beside lists go pairwise (Airflow's)."""
    for before, after in itertools.pairwise(steps):
        if isinstance(before, list | tuple) and isinstance(after, list | tuple):
            if len(before) != len(after):
                raise ValueError(
                    f"chain(): lists beside each other must be of one length, not {len(before)} and {len(after)}"
                )
            for one, other in zip(before, after, strict=True):
                one >> other
        else:
            before >> after


def _output(value: object, name: str) -> Output:
    if isinstance(value, Output):
        return value
    raise TypeError(f"{name}() takes the output of a task, not {type(value).__name__}; call the task first")
