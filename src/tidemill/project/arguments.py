"""Checks what a trigger passes to its DAG: names, required parameters, constants, and what examples give.

The DAG's own types decide, by the same call that decides when a run is made.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidemill.dag.definition import Dag
from tidemill.dag.parameters import ParameterError, ParameterProblem
from tidemill.events.event import JSON, Event
from tidemill.project import mapping
from tidemill.project.entry import Entry, pointer_to, suggestion
from tidemill.project.examples import Arguments

__all__ = ["check_arguments"]


def check_arguments(entry: Entry, dag: Dag, parameters: mapping.Mapping | None) -> Arguments | None:
    """Note what never fits `dag`; how to check one event's values, None when that would add nothing."""
    before = len(entry.problems)
    written = entry.get("parameters")
    given = written if isinstance(written, dict) else {}
    names = tuple(dag.parameters.names)
    for name in given:
        if name not in names:
            entry.problem(pointer_to("parameters", name), _unknown(dag, name, names))
    # Nothing but missing values can be wrong with no values at all.
    for missing in _problems(dag, {}):
        if missing.name not in given:
            at = "/parameters" if isinstance(written, dict) else "/dag"
            entry.problem(
                at, f"DAG {dag.dag_id!r} requires parameter {missing.name!r}; give it in parameters"
            )
    _check_constants(entry, dag, parameters)
    if parameters is None or len(entry.problems) > before:
        return None
    return lambda event: _reason(dag, parameters, event)


def _unknown(dag: Dag, name: str, names: tuple[str, ...]) -> str:
    hint = suggestion(name, names) if names else "; it has none"
    return f"DAG {dag.dag_id!r} has no parameter {name!r}{hint}"


def _check_constants(entry: Entry, dag: Dag, parameters: mapping.Mapping | None) -> None:
    """Note constants that do not fit their parameters; the other parameters are not looked at."""
    if parameters is None:
        return
    constants = {
        name: template.evaluate(mapping.NOTHING)
        for name, template in parameters.templates.items()
        if template.is_constant and name in dag.parameters.names
    }
    if not constants:
        return
    for problem in _problems(dag, constants):
        steps = problem.name.split(".")
        if steps[0] in constants:
            entry.problem(pointer_to("parameters", *steps), f"{problem.name}: {problem.message}")


def _reason(dag: Dag, parameters: mapping.Mapping, event: Event) -> str | None:
    """Why `event` gives no parameters that fit; None when it does."""
    try:
        values = parameters.evaluate(mapping.event_lookup(event))
    except mapping.MappingFailed as error:
        return str(error)
    problems = _problems(dag, values)
    return "; ".join(f"{p.name}: {p.message}" if p.name else p.message for p in problems) or None


def _problems(dag: Dag, values: Mapping[str, JSON]) -> tuple[ParameterProblem, ...]:
    try:
        dag.parameters.validate(values)
    except ParameterError as error:
        return error.problems
    except Exception as error:  # validators of the user's own types may raise anything
        return (ParameterProblem("", f"checking the parameters raised {type(error).__name__}: {error}"),)
    return ()
