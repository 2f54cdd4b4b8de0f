"""From a DAG as it is written to a DAG that runs: record the function, check everything, number the tasks.

A definition is refused whole, with every problem at once; a `Dag` that exists is valid.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import orjson

from tidemill.dag import binding, graph
from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import Dag, Schedule, TaskNode
from tidemill.dag.handles import Output, Parameter, name_of, path_of
from tidemill.dag.options import check_id
from tidemill.dag.parameters import Parameters, SignatureRefused
from tidemill.dag.recording import Call, Recording, TooManyTasks
from tidemill.dag.retry import Retry
from tidemill.dag.schedule import parse_schedule
from tidemill.dag.task import Task
from tidemill.errors import Problem

__all__ = ["build", "line_in", "raised"]

#: Characters of an exception's message that are shown.
_MAX_MESSAGE = 500
#: Cycles that are reported at once.
_MAX_CYCLES = 20


def build(
    definition: DagDefinition,
    *,
    file: str = "",
    line: int | None = None,
    source: str = "",
    max_tasks: int = 10_000,
) -> Dag | list[Problem]:
    """The DAG of `definition`, or every problem it has.

    `file` (relative to the project) and `line` name the place in problems, `source` is the file's text and
    part of the version. Runs the DAG function once; an exception it raises is a problem.
    """
    line = definition.line if line is None else line
    # A factory in another file declares DAGs of this one: its lines would be read as lines of this file.
    code_file = definition.code_file if definition.code_file == definition.file else ""
    recording = Recording(code_file, line, max_tasks)
    parameters = _read_parameters(definition, recording, line)
    output, complete = _record(definition, recording, line)
    schedule = _check_options(definition, recording, line)
    _check_tasks(recording)
    _join_dependencies(recording, complete)
    upstream = _upstream(recording.calls)
    order = graph.sort_topologically(upstream)
    if order is None:
        _refuse_cycles(recording, upstream)
    if recording.problems or order is None:
        return _as_problems(recording, definition, file)
    nodes = _number(recording.calls, upstream, order, definition.options.default_retry or Retry())
    index = {call: place for place, call in enumerate(recording.calls[one] for one in order)}
    return Dag(
        dag_id=definition.dag_id,
        version=_version(source, nodes),
        tasks=nodes,
        index={node.task_id: node.index for node in nodes},
        roots=tuple(node.index for node in nodes if not node.upstream),
        output=_refer(output, index),
        parameters=parameters,
        schedule=schedule,
        max_active_runs=definition.options.max_active_runs,
        max_active_tasks=definition.options.max_active_tasks,
        description=definition.options.description or _first_line(definition.function.__doc__),
        tags=tuple(definition.options.tags),
        file=file,
        line=line,
        source=source,
    )


# ── recording ─────────────────────────────────────────────────────────────────────────────────────────────


def _read_parameters(definition: DagDefinition, recording: Recording, line: int) -> Parameters:
    try:
        return Parameters(definition.function)
    except SignatureRefused as refused:
        for message in refused.messages:
            recording.refuse(message, line)
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
    except TooManyTasks:
        return None, False
    except (Exception, SystemExit) as error:
        at = line_in(error, definition.file) or line
        recording.refuse(f"the DAG function raised {raised(error)}", at)
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


def raised(error: BaseException) -> str:
    """An exception in one line."""
    try:
        message = " ".join(str(error).split())
    except Exception:
        message = ""
    kind = type(error).__name__
    return f"{kind}: {message[:_MAX_MESSAGE]}" if message else kind


def line_in(error: BaseException, file: str) -> int:
    """The deepest line of `file` in the traceback of `error`; 0 when it did not pass there."""
    line = 0
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


# ── checking ──────────────────────────────────────────────────────────────────────────────────────────────


def _check_options(definition: DagDefinition, recording: Recording, line: int) -> Schedule | None:
    options = definition.options
    schedule, wrong = parse_schedule(
        options.schedule_interval,
        start_date=options.start_date,
        end_date=options.end_date,
        catchup=options.catchup,
        timezone=options.timezone,
    )
    for message in (*definition.problems, *options.problems(), *wrong):
        recording.refuse(message, line)
    return schedule


def _check_tasks(recording: Recording) -> None:
    seen: set[Task] = set()
    for call in recording.calls:
        if call.task.options.task_id is None:
            for message in check_id("task id", call.task_id):
                recording.refuse(message, call.line)
        if call.task in seen:
            continue
        seen.add(call.task)
        for message in call.task.problems():
            recording.refuse(f"task {call.task_id!r}: {message}", call.line)


def _join_dependencies(recording: Recording, complete: bool) -> None:
    """Make calls wait for what their `depends_on` names; in an incomplete recording it may come later."""
    by_id = {call.task_id: call for call in recording.calls}
    for call in recording.calls:
        for wanted in call.task.options.dependencies():
            found = list(_find(wanted, recording, by_id))
            if not found and complete:
                name = wanted if isinstance(wanted, str) else getattr(wanted, "name", None) or repr(wanted)
                recording.refuse(
                    f"task {call.task_id!r} depends on {name!r}, which is not in this DAG", call.line
                )
            call.after.update(dict.fromkeys(found))
        for other in [one for one in call.after if one.recording is not recording]:
            del call.after[other]
            recording.refuse(
                f"task {call.task_id!r} depends on {other.task_id!r}, which belongs to another DAG", call.line
            )


def _find(wanted: object, recording: Recording, by_id: Mapping[str, Call]) -> Iterator[Call]:
    match wanted:
        case str():
            if wanted in by_id:
                yield by_id[wanted]
        case Output():
            yield wanted.call
        case Task():
            yield from (call for call in recording.calls if call.task.function is wanted.function)


def _upstream(calls: Sequence[Call]) -> list[list[int]]:
    places = {call: place for place, call in enumerate(calls)}
    return [[places[one] for one in call.after] for call in calls]


def _refuse_cycles(recording: Recording, upstream: Sequence[Sequence[int]]) -> None:
    """Report a cycle, then what is left of the graph without its tasks."""
    for _ in range(_MAX_CYCLES):
        cycle = graph.find_cycle(upstream)
        if cycle is None:
            return
        calls = [recording.calls[place] for place in cycle]
        path = " → ".join(call.task_id for call in calls)
        recording.refuse(f"the tasks wait for each other: {path}", calls[0].line)
        gone = set(cycle)
        upstream = [
            [] if place in gone else [one for one in sources if one not in gone]
            for place, sources in enumerate(upstream)
        ]


def _as_problems(recording: Recording, definition: DagDefinition, file: str) -> list[Problem]:
    name = definition.dag_id
    found = {Problem(file, line, f"DAG {name!r}: {message}") for line, message in recording.problems}
    return sorted(found)


# ── numbering ─────────────────────────────────────────────────────────────────────────────────────────────


def _number(
    calls: Sequence[Call], upstream: Sequence[Sequence[int]], order: Sequence[int], default: Retry
) -> tuple[TaskNode, ...]:
    place = {old: new for new, old in enumerate(order)}
    index = {calls[old]: new for old, new in place.items()}
    sources = [tuple(sorted(place[one] for one in upstream[old])) for old in order]
    targets: list[list[int]] = [[] for _ in order]
    for new, found in enumerate(sources):
        for source in found:
            targets[source].append(new)
    return tuple(
        _node(calls[old], index, upstream=sources[new], downstream=tuple(targets[new]), default=default)
        for new, old in enumerate(order)
    )


def _node(
    call: Call,
    index: Mapping[Call, int],
    *,
    upstream: tuple[int, ...],
    downstream: tuple[int, ...],
    default: Retry,
) -> TaskNode:
    task = call.task
    args, kwargs = _refer((call.args, call.kwargs), index) if call.refers else (call.args, call.kwargs)
    bind = binding.compile_call(args, kwargs)
    return TaskNode(
        task_id=call.task_id,
        index=index[call],
        function=task.function,
        is_coroutine=task.is_coroutine,
        context_parameter=task.context_parameters[0] if task.context_parameters else None,
        args=args,
        kwargs=kwargs,
        has_references=bind is not None,
        upstream=upstream,
        downstream=downstream,
        retry=task.options.retry_policy(default),
        timeout=task.options.time_limit(),
        bind=bind,
    )


def _refer(tree: Any, index: Mapping[Call, int]) -> Any:
    """`tree` with references in place of handles."""
    match tree:
        case Output():
            return binding.ResultRef(index[tree.call], path_of(tree), tree.task_id)
        case Parameter():
            return binding.ParameterRef(name_of(tree), path_of(tree))
        case list():
            return [_refer(one, index) for one in tree]
        case tuple():
            items = [_refer(one, index) for one in tree]
            return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)
        case dict():
            return {key: _refer(value, index) for key, value in tree.items()}
        case _:
            return tree


def _version(source: str, nodes: Sequence[TaskNode]) -> str:
    shape = [
        (
            node.task_id,
            node.upstream,
            repr(node.retry),
            repr(node.timeout),
            _references((node.args, node.kwargs)),
        )
        for node in nodes
    ]
    digest = hashlib.sha256(source.encode("utf-8", "surrogatepass"))
    digest.update(b"\0")
    digest.update(orjson.dumps(shape))
    return digest.hexdigest()[:12]


def _references(tree: Any) -> Any:
    """The references of a tree in order; constants are in the source text."""
    match tree:
        case binding.ResultRef():
            return [tree.index, *tree.path]
        case binding.ParameterRef():
            return [tree.name, *tree.path]
        case list() | tuple():
            return [found for one in tree if (found := _references(one))]
        case dict():
            return [found for one in tree.values() if (found := _references(one))]
        case _:
            return None


def _first_line(text: str | None) -> str:
    return text.strip().splitlines()[0].strip() if text and text.strip() else ""
