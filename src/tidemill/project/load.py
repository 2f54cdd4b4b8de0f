"""Reads a project's folders into one value, or refuses them whole with every problem of every file.

Nothing of a project with a problem is used: a service keeps what it has (invariant 9).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path

import orjson

from tidemill.dag.definition import Dag
from tidemill.errors import DefinitionError, Problem, SettingsError
from tidemill.project.door import Door
from tidemill.project.model import Project
from tidemill.project.schemas import Schemas, load_schemas
from tidemill.project.triggers import Definitions, load_triggers
from tidemill.project.workflows import load_workflows

__all__ = ["Refuse", "load"]

Refuse = Callable[[Mapping[str, Dag]], list[Problem]]


def load(root: Path, *, max_tasks: int = 1000, refuse: Refuse | None = None) -> Project:
    """The project in the folder `root`; folders that are missing in it say nothing.

    `refuse` says what is wrong with DAGs that are right by themselves: it knows what they can be given. Raises
    `DefinitionError` with everything wrong in workflows, triggers and schemas (the user must correct
    the files; nothing of them is used), and `SettingsError` when there is no such folder.
    """
    root = root.resolve()
    if not root.is_dir():
        raise SettingsError(f"the project folder {root} does not exist; make one with `tidemill init`")
    dags, workflow_problems = load_workflows(root, max_tasks=max_tasks)
    schemas = load_schemas(root)
    definitions = load_triggers(
        root, dags, excused=_excused(root, workflow_problems), upcasts=schemas.upcasts
    )
    problems = [*workflow_problems, *definitions.problems, *schemas.problems]
    if refuse is not None:
        problems += refuse(dags)
    if problems:
        raise DefinitionError(problems)
    return Project(
        root=root,
        dags=dags,
        triggers=tuple(definitions.triggers),
        subscriptions=tuple(definitions.subscriptions),
        sources=tuple(definitions.sources),
        version=_version(dags, definitions, schemas),
        written=tuple(definitions.written),
        warnings=tuple(definitions.warnings),
        schemas=schemas.validators,
        door=Door(schemas.checked),
        written_schemas=schemas.written,
        upcasts=schemas.upcasts,
        derivations=tuple(definitions.derivations),
    )


def _excused(root: Path, problems: list[Problem]) -> Callable[[str], bool]:
    """Whether a DAG's name stands in a refused workflow file: then its absence is that file's problem."""
    texts = []
    for file in sorted({problem.file for problem in problems}):
        try:
            texts.append((root / file).read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
    return lambda name: any(name in text for text in texts)


def _version(dags: Mapping[str, Dag], definitions: Definitions, schemas: Schemas) -> str:
    """A hash of all definitions; the same whatever the files are called and wherever the project lies."""
    facts = {
        "dags": {name: dag.version for name, dag in dags.items()},
        "definitions": sorted(definitions.written, key=lambda one: (one[0], one[1]["name"])),
        "schemas": schemas.written,
    }
    text = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=8).hexdigest()
