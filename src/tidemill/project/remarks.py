"""What `tidemill validate` can say: one rule for each kind of mistake, and remarks that a rule is broken somewhere.

Ids of rules are for ever: people write them into the settings of other tools.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidemill.errors import Problem

__all__ = ["RULES", "Remark", "RuleText", "Severity", "remark_of"]


class Severity(StrEnum):
    """How bad it is."""

    #: The project is refused, or the run certainly fails.
    ERROR = "error"
    #: It is allowed and probably not meant.
    WARNING = "warning"
    #: It is allowed, and good to know.
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class RuleText:
    """One kind of mistake."""

    severity: Severity
    #: What is wrong, in one clause.
    summary: str


_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

#: By id.
RULES: dict[str, RuleText] = {
    "project": RuleText(_ERROR, "there is no project, or its folders cannot be read"),
    "settings": RuleText(_ERROR, "a setting is missing, unknown or out of range"),
    "syntax": RuleText(_ERROR, "a workflow file is not Python"),
    "import": RuleText(_ERROR, "importing a workflow file raised"),
    "missing-dependency": RuleText(_ERROR, "a workflow file imports a module that is not there"),
    "late-dependency": RuleText(_WARNING, "a function imports a module that is not installed here"),
    "late-import": RuleText(
        _WARNING, "a task imports a module of the folder when it is called, and cannot find it"
    ),
    "workflow-definition": RuleText(_ERROR, "a DAG or task is not declared as it must be"),
    "duplicate-dag": RuleText(_ERROR, "two DAGs have one id"),
    "cycle": RuleText(_ERROR, "tasks wait for each other in a circle"),
    "unreachable-task": RuleText(_ERROR, "a task can never start, whatever becomes of the others"),
    "unknown-branch": RuleText(_ERROR, "a branch names a task that is not right below it"),
    "type-mismatch": RuleText(_ERROR, "a task takes what another one, or a parameter, certainly is not"),
    "none-passed": RuleText(_WARNING, "a task takes the result of one that returns nothing"),
    "unknown-path": RuleText(_ERROR, "a reference leads to a part that the value certainly does not have"),
    "unserialisable-default": RuleText(_ERROR, "the default of a parameter cannot be stored as JSON"),
    "unserialisable-result": RuleText(_WARNING, "a task returns what cannot be written as JSON"),
    "unserialisable-constant": RuleText(
        _NOTE, "a task is called with a constant that cannot be written as JSON"
    ),
    "unknown-pool": RuleText(_ERROR, "a task names a pool that the settings do not have"),
    "impossible-resources": RuleText(_ERROR, "a task asks for more than there ever is"),
    "trigger-definition": RuleText(_ERROR, "an entry of a trigger file is not written as it must be"),
    "schema-definition": RuleText(_ERROR, "a schema is not written as it must be"),
    "event-loop": RuleText(_WARNING, "DAGs start each other in a circle"),
    "never-true": RuleText(_WARNING, "no event can match"),
    "identical": RuleText(_WARNING, "two triggers match the same events and start the same"),
    "shadowed": RuleText(_WARNING, "everything that a trigger matches starts the same through another one"),
    "unfed": RuleText(_WARNING, "nothing makes the events that are asked for"),
    "untaken": RuleText(_WARNING, "nothing takes the events of a source or derivation"),
}

_BY_FOLDER = {
    "workflows": "workflow-definition",
    "triggers": "trigger-definition",
    "schemas": "schema-definition",
    "tidemill.toml": "settings",
}


@dataclass(frozen=True, slots=True, order=True)
class Remark:
    """One place where a rule is broken."""

    #: Relative to the project folder; empty when it is about the whole project.
    file: str
    #: From 1; 0 when unknown.
    line: int
    #: From 1; 0 when unknown.
    column: int
    rule: str
    message: str

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return RULES[self.rule].severity

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.message}" if place else self.message


def remark_of(problem: Problem) -> Remark:
    """A problem of a definition file as a remark; one without a rule breaks that of its folder."""
    rule = problem.rule or _BY_FOLDER.get(problem.file.partition("/")[0], "project")
    return Remark(problem.file, problem.line, problem.column, rule, problem.message)
