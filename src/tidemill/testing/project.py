"""A project for a test: from a folder, or from DAGs as they are and the text of a definition file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

from tidemill.dag.build import build
from tidemill.dag.declaration import DagDefinition
from tidemill.dag.definition import Dag
from tidemill.errors import DefinitionError
from tidemill.project.load import load
from tidemill.project.model import Project
from tidemill.project.triggers import FOLDER, load_triggers

__all__ = ["make_project"]


def make_project(
    folder: Path, *, dags: Sequence[DagDefinition | Dag], root: Path | None, triggers: str
) -> Project:
    """The project; raises `DefinitionError` as loading does, and `ValueError` for both kinds at once."""
    if root is not None:
        if dags or triggers:
            raise ValueError("give either root or dags and triggers, not both")
        return load(root)
    made = {dag.dag_id: dag for dag in map(_build, dags)}
    place = folder / FOLDER / "test.yaml"
    place.parent.mkdir(exist_ok=True)
    place.write_text(dedent(triggers), encoding="utf-8")
    definitions = load_triggers(folder, made)
    if definitions.problems:
        raise DefinitionError(definitions.problems)
    return Project(
        root=folder,
        dags=made,
        triggers=tuple(definitions.triggers),
        subscriptions=tuple(definitions.subscriptions),
        sources=tuple(definitions.sources),
        version="test",
        warnings=tuple(definitions.warnings),
        derivations=tuple(definitions.derivations),
    )


def _build(dag: DagDefinition | Dag) -> Dag:
    if isinstance(dag, Dag):
        return dag
    built = build(dag)
    if isinstance(built, Dag):
        return built
    raise DefinitionError(built)
