"""The versions that this worker has loaded: each once, from the text that the node sent."""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from tidemill.dag.definition import Dag
from tidemill.errors import DefinitionError, Problem
from tidemill.project.workflows import FOLDER, load_source

__all__ = ["Definitions", "MissingBundle"]

#: Versions kept.
_KEPT = 64


class MissingBundle(Exception):  # noqa: N818 - answered by the node, not a mistake
    """This worker has never seen the version, and its text was not sent along."""


class Definitions:
    """Loaded versions, newest use last; threads of one worker share them."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[tuple[str, str, str], Dag] = OrderedDict()
        #: Folders with the modules beside a version, by its bundle.
        self._folders: dict[str, tempfile.TemporaryDirectory[str]] = {}
        self._lock = threading.Lock()

    def find(self, head: Mapping[str, Any], bundle: bytes) -> Dag:
        """The version that a request names. Raises `MissingBundle` or `DefinitionError`."""
        key = (head["dag"], head["version"], head["bundle"])
        with self._lock:
            dag = self._loaded.get(key)
            if dag is not None:
                self._loaded.move_to_end(key)
                return dag
            if not bundle:
                raise MissingBundle
            dag = self._load(head, orjson.loads(bundle))
            self._loaded[key] = dag
            if len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
            return dag

    def _load(self, head: Mapping[str, Any], bundle: Mapping[str, Any]) -> Dag:
        file, version = head["file"], head["version"]
        dag = load_source(
            bundle["source"],
            file,
            head["dag"],
            root=self._folder(head["bundle"], bundle["siblings"]),
            modules=bundle.get("modules"),
        )
        if dag.version != version:
            reason = (
                f"on this worker the file makes another graph ({dag.version}) than where the run was started "
                f"({version}); a DAG must not depend on the machine that reads it"
            )
            raise DefinitionError([Problem(file, 0, reason)])
        return dag

    def _folder(self, digest: str, siblings: Mapping[str, str]) -> Path | None:
        if not siblings:
            return None
        made = self._folders.get(digest)
        if made is None:
            made = self._folders[digest] = tempfile.TemporaryDirectory(prefix="tidemill-")
            for path, text in siblings.items():
                place = Path(made.name, FOLDER, path)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, "utf-8")
        return Path(made.name)
