"""Builds triggers and checks that they fit their DAGs and do what their examples say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tidemill.dag.definition import Dag
from tidemill.project import mapping
from tidemill.project.arguments import check_arguments
from tidemill.project.entry import Entry, suggestion
from tidemill.project.examples import check_examples
from tidemill.project.model import Trigger
from tidemill.project.rules import compile_rule
from tidemill.project.structure import check_structure
from tidemill.project.trigger_file import TriggerEntry

__all__ = ["build_trigger"]

#: What stands in place of a trigger's name for runs that no trigger started.
_OUR_NAMES = frozenset({"manual", "retry", "schedule"})


def build_trigger(entry: Entry, dags: Mapping[str, Dag], *, excused: Callable[[str], bool]) -> Trigger | None:
    """The entry's trigger; None when something is wrong with it, with every problem noted.

    `excused` says of a DAG that is not there whether its own file is at fault, so that it is not reported
    twice.
    """
    before = len(entry.problems)
    form = check_structure(entry, TriggerEntry)
    rule = compile_rule(entry)
    parameters = _parameters(entry)
    dag = _dag(entry, dags, excused)
    arguments = check_arguments(entry, dag, parameters) if dag else None
    check_examples(entry, rule, arguments)
    if form is not None and form.name in _OUR_NAMES:
        entry.problem(
            "/name", f"{form.name!r} is what runs asked for by hand or by the clock carry; take another"
        )
    if form is None or rule is None or len(entry.problems) > before:
        return None
    return Trigger(
        name=form.name,
        rule=rule,
        dag=form.dag,
        parameters=parameters,
        paused=form.paused,
        file=entry.file,
        line=entry.line,
    )


def _dag(entry: Entry, dags: Mapping[str, Dag], excused: Callable[[str], bool]) -> Dag | None:
    name = entry.get("dag")
    if not isinstance(name, str) or not name:
        return None
    if name not in dags and not excused(name):
        hint = suggestion(name, dags) or ("" if dags else "; workflows/ defines none")
        entry.problem("/dag", f"there is no DAG {name!r}{hint}")
    return dags.get(name)


def _parameters(entry: Entry) -> mapping.Mapping | None:
    written = entry.get("parameters")
    if not isinstance(written, dict):
        return None
    try:
        return mapping.compile_mapping(written)
    except mapping.MappingProblem as error:
        for pointer, message in error.problems:
            entry.problem("/parameters" + pointer, message)
        return None
