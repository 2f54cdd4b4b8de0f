"""A project's verdict: everything that is wrong in its files, or allowed and probably not meant, as remarks.

What is refused at load comes first; only a project that loads is looked at more closely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.dag.definition import Dag, NodeKind
from tidemill.dag.reachable import unreachable
from tidemill.errors import DefinitionError, SettingsError
from tidemill.project.branch_names import branch_names
from tidemill.project.import_check import check_imports
from tidemill.project.lint import FindingKind, lint
from tidemill.project.load import load
from tidemill.project.model import Project
from tidemill.project.remarks import Remark, Severity, remark_of
from tidemill.project.type_check import check_types
from tidemill.settings import Settings
from tidemill.settings import load as load_settings

__all__ = ["Demands", "Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found."""

    #: None when it is refused.
    project: Project | None
    remarks: Sequence[Remark] = ()
    #: Names of what a valid project defines, by kind.
    names: dict[str, list[str]] = field(default_factory=dict)

    def of(self, severity: Severity) -> list[Remark]:
        """The remarks of one severity."""
        return [remark for remark in self.remarks if remark.severity is severity]

    def is_valid(self, *, strict: bool = False) -> bool:
        """Whether nothing is wrong; with `strict`, whether nothing is doubtful either."""
        bad = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
        return not any(remark.severity in bad for remark in self.remarks)


#: What is wrong with what DAGs ask of pools and machine: given by whoever knows how tasks are scheduled.
Demands = Callable[[Mapping[str, Dag], Settings, Path], Iterable[Remark]]


def judge(root: Path, demands: Demands = lambda _dags, _settings, _root: ()) -> Verdict:
    """Everything that can be said of the project at `root`; executes the module-level code of its workflows."""
    remarks: list[Remark] = []
    settings: Settings | None = None
    try:
        settings = load_settings(root)
        max_tasks = settings.max_tasks_per_dag
    except SettingsError as error:
        remarks.append(Remark("tidemill.toml", 0, 0, "settings", str(error)))
        max_tasks = Settings.model_fields["max_tasks_per_dag"].default
    try:
        project = load(root, max_tasks=max_tasks)
    except DefinitionError as error:
        return Verdict(None, [*remarks, *map(remark_of, error.problems)])
    except SettingsError as error:
        return Verdict(None, [*remarks, Remark("", 0, 0, "project", str(error))])
    found = {remark for dag in project.dags.values() for remark in _of_dag(dag)}
    found.update(check_imports(project.dags, project.root))
    if settings is not None:
        found.update(demands(project.dags, settings, project.root))
    remarks += [*sorted(found), *_of_triggers(project)]
    return Verdict(project, remarks, _names(project))


def _of_dag(dag: Dag) -> Iterator[Remark]:
    yield from check_types(dag)
    named = branch_names(dag)
    for node, reason in unreachable(dag, named):
        message = f"DAG {dag.dag_id!r}: task {node.task_id!r} can never start: {reason}"
        yield Remark(dag.file, node.line or dag.line, 0, "unreachable-task", message)
    for node in dag.tasks:
        if node.kind is NodeKind.BRANCH:
            below = {dag.tasks[index].task_id for index in node.downstream}
            for name in sorted(named.get(node.task_id, frozenset()) - below):
                message = (
                    f"DAG {dag.dag_id!r}: branch {node.task_id!r} names {name!r}, which is not right below it"
                )
                yield Remark(dag.file, node.line or dag.line, 0, "unknown-branch", message)


def _of_triggers(project: Project) -> Iterator[Remark]:
    for warning in project.warnings:
        yield Remark("", 0, 0, "event-loop", warning)
    for finding in lint(project):
        if finding.kind is not FindingKind.LOOP:  # told above, as it is when the project is served
            rule = finding.kind.value.replace("_", "-")
            yield Remark(finding.file, finding.line, 0, rule, f"{finding.name}: {finding.message}")


def _names(project: Project) -> dict[str, list[str]]:
    return {
        "dags": sorted(project.dags),
        "triggers": [one.name for one in project.triggers],
        "sources": [one.name for one in project.sources],
        "subscriptions": [one.name for one in project.subscriptions],
    }
