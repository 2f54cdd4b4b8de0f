"""From a DAG as it is written to a DAG that runs: record the function, check everything, number the tasks.

A definition is refused whole, with every problem at once; a `Dag` that exists is valid.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.dag import checks, graph, numbering, raised
from tidemill.dag.callbacks import add_callbacks, join_callbacks
from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import Dag
from tidemill.dag.handles import Parameter
from tidemill.dag.parameters import Parameters, SignatureRefused
from tidemill.dag.recording import Call, Group, Recording, TooManyTasks
from tidemill.errors import Problem

__all__ = ["build"]


def build(
    definition: DagDefinition,
    *,
    file: str = "",
    line: int | None = None,
    source: str = "",
    modules: Mapping[str, str] | None = None,
    max_tasks: int = 10_000,
) -> Dag | list[Problem]:
    """The DAG of `definition`, or every problem it has.

    `file` (relative to the project) and `line` name the place in problems, `source` is the file's text and
    part of the version, as `modules` are: the texts of what it imports from beside it. Runs the DAG function
    once; an exception it raises is a problem.
    """
    line = definition.line if line is None else line
    # A factory in another file declares DAGs of this one: its lines would be read as lines of this file.
    code_file = definition.code_file if definition.code_file == definition.file else ""
    options = definition.options
    defaults = options.task_defaults if isinstance(options.task_defaults, dict) else {}
    whole = Group(default_retry=options.default_retry, defaults=defaults)
    recording = Recording(code_file, line, max_tasks, group=whole)
    parameters = _read_parameters(definition, recording, line)
    output, complete = _record(definition, recording, line)
    schedule = checks.check_options(definition, recording, line)
    checks.check_tasks(recording)
    checks.join_dependencies(recording, complete)
    join_callbacks(recording)
    upstream = _upstream(recording.calls)
    order = graph.sort_topologically(upstream)
    if order is None:
        checks.refuse_cycles(recording, upstream)
    if recording.problems or order is None:
        return _as_problems(recording, definition, file)
    nodes = numbering.number(recording.calls, upstream, order)
    index = {call: place for place, call in enumerate(recording.calls[one] for one in order)}
    recording.calls = []  # calls hold their recording: that of a wide graph is megabytes, freed at once like this
    return Dag(
        dag_id=definition.dag_id,
        version=numbering.version_of(source, nodes, modules),
        tasks=nodes,
        index={node.task_id: node.index for node in nodes},
        roots=tuple(node.index for node in nodes if not node.upstream),
        output=numbering.refer(output, index),
        parameters=parameters,
        schedule=schedule,
        max_active_runs=definition.options.max_active_runs,
        count_waiting=definition.options.count_waiting,
        max_active_tasks=definition.options.max_active_tasks,
        weight=float(definition.options.weight),
        description=definition.options.description or _first_line(definition.function.__doc__),
        tags=tuple(definition.options.tags),
        on=definition.options.triggers,
        file=file,
        line=line,
        source=source,
        modules=modules,
    )


# ── recording ─────────────────────────────────────────────────────────────────────────────────────────────


def _read_parameters(definition: DagDefinition, recording: Recording, line: int) -> Parameters:
    try:
        return Parameters(definition.function)
    except SignatureRefused as refused:
        for message in refused.messages:
            recording.refuse(message, line)
    except Exception as error:  # whatever the user's own types raise while they are looked at
        recording.refuse(f"reading the parameters raised {raised.describe(error)}", line)
    return Parameters()


def _record(definition: DagDefinition, recording: Recording, line: int) -> tuple[Any, bool]:
    """What the DAG function returned, its calls recorded; and whether it ran to its end."""
    if inspect.iscoroutinefunction(definition.function) or inspect.isgeneratorfunction(definition.function):
        recording.refuse(
            "a DAG is a plain function (def, no yield); its tasks may be coroutine functions", line
        )
        return None, False
    args, kwargs = _handles(definition)
    try:
        with recording.active():
            output = definition.function(*args, **kwargs)
            add_callbacks(definition, recording)
    except TooManyTasks:
        return None, False
    except (Exception, SystemExit) as error:
        at = raised.line_in(error, definition.file) or line
        recording.refuse(f"the DAG function raised {raised.describe(error)}", at)
        return None, False
    recording.scan(output, None)
    if not recording.calls:
        recording.refuse("the DAG has no tasks; call at least one task in its function", line)
    return output, True


def _handles(definition: DagDefinition) -> tuple[list[Any], dict[str, Any]]:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, one in inspect.signature(definition.function).parameters.items():
        match one.kind:
            case inspect.Parameter.POSITIONAL_ONLY | inspect.Parameter.POSITIONAL_OR_KEYWORD:
                args.append(Parameter(name))
            case inspect.Parameter.KEYWORD_ONLY:
                kwargs[name] = Parameter(name)
    return args, kwargs


def _upstream(calls: Sequence[Call]) -> list[list[int]]:
    places = {call: place for place, call in enumerate(calls)}
    return [[places[one] for one in call.after] for call in calls]


def _as_problems(recording: Recording, definition: DagDefinition, file: str) -> list[Problem]:
    name = definition.dag_id
    found = {
        Problem(file, line, f"DAG {name!r}: {message}", rule=recording.rules.get(message, ""))
        for line, message in recording.problems
    }
    return sorted(found)


def _first_line(text: str | None) -> str:
    return text.strip().splitlines()[0].strip() if text and text.strip() else ""
