"""The definitions that runs began with: loaded ones, and older ones from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from tidemill.dag.definition import Dag
from tidemill.errors import NotFound
from tidemill.project.waits import pattern_bodies
from tidemill.project.workflows import load_version
from tidemill.runs.view import encode_graph
from tidemill.storage.contract import RunStore, Waits

__all__ = ["Versions"]


class Versions:
    """Finds the `Dag` of a (DAG, version)."""

    def __init__(self, dags: Mapping[str, Dag], store: RunStore, *, waits: Waits, root: Path | None) -> None:
        self._store = store
        self._waits = waits
        #: Where kept sources find the modules beside them that are not kept with them.
        self._root = root
        self._known: dict[tuple[str, str], Dag] = {(dag.dag_id, dag.version): dag for dag in dags.values()}
        self._dags = dags

    def replace(self, dags: Mapping[str, Dag]) -> None:
        """Other definitions are loaded; runs end on those that they began with."""
        self._dags = dags
        self._known.update({(dag.dag_id, dag.version): dag for dag in dags.values()})

    def patterns(self) -> dict[str, bytes]:
        """What the loaded versions wait for, by name."""
        return {name: body for dag in self._dags.values() for name, body in pattern_bodies(dag).items()}

    async def save(self) -> None:
        """Keep every loaded version with its source, so that its runs can end on it after the files change."""
        await asyncio.gather(  # one commit
            *(
                self._store.save_version(
                    dag.dag_id, dag.version, dag.file, dag.source, encode_graph(dag), modules=dag.modules
                )
                for dag in self._dags.values()
            )
        )

    def loaded(self, dag_id: str, version: str) -> Dag | None:
        """The definition when it needs no reading."""
        return self._known.get((dag_id, version))

    async def find(self, dag_id: str, version: str) -> Dag:
        """The definition, rebuilt from its kept source when the files have changed since.

        Raises `NotFound` or `DefinitionError`: the run cannot go on.
        """
        known = self._known.get((dag_id, version))
        if known is not None:
            return known
        kept = await self._store.version(dag_id, version)
        if kept is None:
            raise NotFound("version", f"{dag_id}@{version}")
        file, source, _ = kept
        modules = await self._store.modules(dag_id, version)
        dag = load_version(dag_id, version, file=file, source=source, modules=modules, root=self._root)
        if patterns := pattern_bodies(dag):  # before a run of it can begin to wait
            await self._waits.keep_patterns(patterns)
        self._known[dag_id, version] = dag
        return dag
