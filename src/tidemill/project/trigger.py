"""Builds triggers and checks that they fit their DAGs and do what their examples say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tidemill.dag.definition import Dag
from tidemill.project import mapping
from tidemill.project.admission_build import build_admission
from tidemill.project.arguments import check_arguments
from tidemill.project.enrichment import Enrichment
from tidemill.project.enrichment_form import build_enrichments, enriched_names
from tidemill.project.entry import Entry, suggestion
from tidemill.project.examples import check_examples
from tidemill.project.model import Trigger
from tidemill.project.rules import compile_rule
from tidemill.project.structure import check_structure
from tidemill.project.trigger_file import TriggerEntry
from tidemill.project.upcast import Upcasts

__all__ = ["build_trigger"]

#: What stands in place of a trigger's name for runs that no trigger started.
_OUR_NAMES = frozenset({"manual", "retry", "schedule"})


def build_trigger(
    entry: Entry,
    dags: Mapping[str, Dag],
    *,
    excused: Callable[[str], bool],
    upcasts: Upcasts | None = None,
    root: Path | None = None,
) -> Trigger | None:
    """The entry's trigger; None when something is wrong with it, with every problem noted.

    `excused` says of a DAG that is not there whether its own file is at fault, so that it is not reported
    twice.
    """
    before = len(entry.problems)
    form = check_structure(entry, TriggerEntry)
    rule = compile_rule(entry)
    parameters = _parameters(entry, upcasts)
    dag = _dag(entry, dags, excused)
    admission = build_admission(entry, form.admission if form is not None else None, root)
    arguments = check_arguments(entry, dag, parameters) if dag else None
    enrichments = _enrichments(entry, form, root, upcasts)
    if enriched_names(entry):
        arguments = None  # what a function would look up is not known here
    if admission is not None and admission.collects:
        arguments = None  # how the DAG's parameters come from several events shows only when there are some
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
        enrichments=enrichments,
        paused=form.paused,
        admission=admission,
        loops={"ignore": None, "avoid": 1}[form.loops] if isinstance(form.loops, str) else form.loops,
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


def _enrichments(
    entry: Entry, form: TriggerEntry | None, root: Path | None, upcasts: Upcasts | None
) -> tuple[Enrichment, ...]:
    if form is None or not form.enrich or root is None:
        return ()
    return build_enrichments(entry, form.enrich, root=root, upcasts=upcasts)


def _parameters(entry: Entry, upcasts: Upcasts | None) -> mapping.Mapping | None:
    written = entry.get("parameters")
    if not isinstance(written, dict):
        return None
    try:
        return mapping.compile_mapping(
            written, enriched=enriched_names(entry), cast=upcasts.lookup if upcasts else None
        )
    except mapping.MappingProblem as error:
        for pointer, message in error.problems:
            entry.problem("/parameters" + pointer, message)
        return None
