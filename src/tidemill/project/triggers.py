"""Reads `triggers/*.yaml` into sources, triggers and subscriptions, with every problem of every file.

Each entry is checked by itself and as far as it goes: a problem hides neither another entry nor another
problem. Nothing is used when there is any problem; that is the caller's to decide (`load`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.dag.definition import Dag
from tidemill.errors import Problem
from tidemill.events.event import JSON
from tidemill.project import yaml_text
from tidemill.project.cycles import TriggerRule, cycle_warnings
from tidemill.project.derivation import Derivation
from tidemill.project.derivation_form import build_derivation
from tidemill.project.entry import Entry, pointer_to, suggestion
from tidemill.project.folders import definition_files, read_definition, relative_name
from tidemill.project.model import SourceSpec, Subscription, Trigger
from tidemill.project.source import build_source
from tidemill.project.subscription import build_subscription
from tidemill.project.trigger import build_trigger
from tidemill.project.trigger_file import ENTRIES
from tidemill.project.upcast import Upcasts

__all__ = ["FOLDER", "Definitions", "load_triggers"]

#: Folder of the definition files in a project.
FOLDER = "triggers"

_SUFFIXES = frozenset({".yaml", ".yml"})
_SINGULAR = {
    "sources": "source",
    "triggers": "trigger",
    "subscriptions": "subscription",
    "derive": "derivation",
}


@dataclass(slots=True)
class Definitions:
    """What the definition files say, and what is wrong with them."""

    sources: list[SourceSpec] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    derivations: list[Derivation] = field(default_factory=list)
    #: (list, entry) as written, in order of file and place; what the project's version is made of.
    written: list[tuple[str, JSON]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def load_triggers(
    root: Path,
    dags: Mapping[str, Dag],
    *,
    excused: Callable[[str], bool] = lambda _name: False,
    upcasts: Upcasts | None = None,
) -> Definitions:
    """Everything below `root/triggers`; a missing folder says nothing.

    `excused(name)` is True for a DAG that is missing because of its own file's problems; `upcasts` cast events
    before their values are mapped.
    """
    found = Definitions()
    entries = [
        (kind, entry)
        for path in definition_files(root / FOLDER, _SUFFIXES)
        for kind, entry in _entries(path, root, found.problems)
    ]
    entries += [("triggers", entry) for dag in dags.values() for entry in _beside(dag, found.problems)]
    _note_duplicates(entries)
    rules: list[TriggerRule] = []
    for kind, entry in entries:
        found.written.append((kind, entry.written))
        match kind:
            case "sources":
                if source := build_source(entry, root):
                    found.sources.append(source)
            case "subscriptions":
                if subscription := build_subscription(entry):
                    found.subscriptions.append(subscription)
            case "derive":
                if derivation := build_derivation(entry, root, upcasts=upcasts):
                    found.derivations.append(derivation)
            case _:
                if trigger := build_trigger(entry, dags, excused=excused, upcasts=upcasts, root=root):
                    found.triggers.append(trigger)
                    if trigger.loops is not None:
                        continue  # its loop policy ends every circle that it is part of
                    rules.append(
                        TriggerRule(trigger.name, trigger.dag, _filters_of(entry), entry.get("pattern"))
                    )
    if not found.problems:
        found.warnings.extend(cycle_warnings(rules, list(dags)))
    return found


def _filters_of(entry: Entry) -> list[JSON]:
    """The filters of a trigger, and its expressions as filters."""
    expressions = [
        {name: entry.get(field)} for name, field in (("sql", "cesql"), ("cel", "cel")) if entry.get(field)
    ]
    return [*(entry.get("filters") or []), *expressions]


def _beside(dag: Dag, problems: list[Problem]) -> Iterator[Entry]:
    """The triggers that stand in code beside their DAG."""
    for number, one in enumerate(dag.on, 1):
        name = dag.dag_id if number == 1 else f"{dag.dag_id}-{number}"
        written = {"name": name, **one.written, "dag": dag.dag_id}
        text = yaml_text.written_in_code(written, one.line or dag.line)
        yield Entry(dag.file, text, "", written, problems)


def _entries(path: Path, root: Path, problems: list[Problem]) -> Iterator[tuple[str, Entry]]:
    """The entries of one file, each with the name of its list."""
    file = relative_name(path, root)
    content = read_definition(path, root, max_bytes=yaml_text.MAX_BYTES)
    if isinstance(content, Problem):
        problems.append(content)
        return
    try:
        text = yaml_text.read_yaml(content)
    except yaml_text.YamlRefused as error:
        problems.extend(Problem(file, p.place.line, p.message, p.place.column) for p in error.problems)
        return
    whole = Entry(file, text, "", text.value, problems)
    if text.value is not None and not isinstance(text.value, dict):
        whole.problem("", f"a definition file is a mapping with {', '.join(ENTRIES)}")
        return
    for kind, members in (text.value or {}).items():
        at = pointer_to(kind)
        if kind not in ENTRIES:
            whole.problem(at, f"unknown field {kind!r}{suggestion(kind, ENTRIES)}")
        elif isinstance(members, list):
            for index, member in enumerate(members):
                yield kind, Entry(file, text, f"{at}/{index}", member, problems)
        elif members is not None:
            whole.problem(at, f"{kind!r} must be a list")


def _note_duplicates(entries: list[tuple[str, Entry]]) -> None:
    """Note every name that an entry of the same list has already, with both places."""
    first: dict[tuple[str, str], Entry] = {}
    for kind, entry in entries:
        if not entry.name:
            continue
        earlier = first.setdefault((kind, entry.name), entry)
        if earlier is not entry:
            entry.problem(
                "/name",
                f"{_SINGULAR[kind]} {entry.name!r} is defined twice: here and at {earlier.place}",
            )
