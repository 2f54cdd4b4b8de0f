"""What is wrong with a recorded DAG: options, tasks, dependencies, cycles. Checks go on after a problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tidemill.dag import graph
from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import Schedule
from tidemill.dag.edges import Origin
from tidemill.dag.handles import Output
from tidemill.dag.options import check_id, listed
from tidemill.dag.recording import Call, Group, Recording
from tidemill.dag.schedule import parse_schedule
from tidemill.dag.task import Task

__all__ = ["check_options", "check_tasks", "join_dependencies", "refuse_cycles"]

#: Cycles that are reported at once.
_MAX_CYCLES = 20


def check_options(definition: DagDefinition, recording: Recording, line: int) -> Schedule | None:
    """Check what `@dag` was given; the schedule, if it has a valid one."""
    options = definition.options
    schedule, wrong = parse_schedule(
        options.schedule_interval,
        start_date=options.start_date,
        end_date=options.end_date,
        catchup=options.catchup,
        timezone=options.timezone,
        misfire=options.misfire,
        jitter=options.jitter,
    )
    for message in (*definition.problems, *options.problems(), *wrong):
        recording.refuse(message, line)
    return schedule


def check_tasks(recording: Recording) -> None:
    """Check every task once, and every id that was made of a function's name."""
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


def join_dependencies(recording: Recording, complete: bool) -> None:
    """Make calls wait for what their `depends_on` names; in an incomplete recording it may come later."""
    by_id = {call.task_id: call for call in recording.calls}
    for call in recording.calls:
        for wanted in call.task.options.dependencies():
            found = list(_find(wanted, recording, by_id, group=call.group))
            if not found and complete:
                name = wanted if isinstance(wanted, str) else getattr(wanted, "name", None) or repr(wanted)
                recording.refuse(
                    f"task {call.task_id!r} depends on {name!r}, which is not in this DAG", call.line
                )
            call.after.update(dict.fromkeys(found))
            if isinstance(wanted, Origin):
                call.edges.update(dict.fromkeys(found, wanted.edge))
        _join_setups(call, recording, by_id, complete=complete)
        for other in [one for one in call.after if one.recording is not recording]:
            del call.after[other]
            recording.refuse(
                f"task {call.task_id!r} depends on {other.task_id!r}, which belongs to another DAG", call.line
            )


def _join_setups(call: Call, recording: Recording, by_id: Mapping[str, Call], *, complete: bool) -> None:
    """Make a teardown wait for the tasks that it cleans up after."""
    written = call.task.options.teardown
    if written is None or written is False:
        return
    call.setups, call.decides = [], False
    for setup in () if written is True else listed(written):
        found = list(_find(setup, recording, by_id, group=call.group))
        if not found and complete:
            name = setup if isinstance(setup, str) else getattr(setup, "name", None) or repr(setup)
            recording.refuse(
                f"task {call.task_id!r} cleans up after {name!r}, which is not in this DAG", call.line
            )
        call.setups.extend(found)
        call.after.update(dict.fromkeys(found))


def _find(wanted: object, recording: Recording, by_id: Mapping[str, Call], *, group: Group) -> Iterator[Call]:
    """What is meant inside `group`: names and tasks are looked for there first, then outside of it."""
    match wanted:
        case str():
            found = next((by_id[name] for name in _names(wanted, group) if name in by_id), None)
            if found is not None:
                yield found
        case Output():
            yield wanted.call
        case Origin():
            yield wanted.output.call
        case Task():
            calls = [call for call in recording.calls if call.task.function is wanted.function]
            yield from [call for call in calls if call.group is group] or calls


def _names(name: str, group: Group) -> Iterator[str]:
    scope: Group | None = group
    while scope is not None:
        yield scope.prefix + name
        scope = scope.outer
    yield name


def refuse_cycles(recording: Recording, upstream: Sequence[Sequence[int]]) -> None:
    """Report a cycle, then what is left of the graph without its tasks."""
    for _ in range(_MAX_CYCLES):
        cycle = graph.find_cycle(upstream)
        if cycle is None:
            return
        calls = [recording.calls[place] for place in cycle]
        path = " → ".join(call.task_id for call in calls)
        recording.refuse(f"the tasks wait for each other: {path}", calls[0].line, rule="cycle")
        gone = set(cycle)
        upstream = [
            [] if place in gone else [one for one in sources if one not in gone]
            for place, sources in enumerate(upstream)
        ]
