"""The pinned code of a DAG version as it crosses to workers: the text of its file, and of the modules beside it.

A version is its file's text with the modules that it imports; what is not known to be imported comes from the project
as it is, as everywhere. A worker that has the bundle is sent its hash alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import orjson

from tidemill.dag.definition import Dag
from tidemill.project.workflows import FOLDER, MAX_FILE_BYTES

__all__ = ["Bundle", "Bundles"]

#: Longest text of a bundle, in bytes: beyond it a project's modules belong in an installed package.
_LARGEST = 16 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """The code of one version."""

    digest: str
    #: JSON: `source`; `modules` that the version is made of (null: not known), and `siblings` beside them, by path
    #: relative to the workflows folder.
    text: bytes


class Bundles:
    """Bundles by DAG version, made when they are first asked for."""

    def __init__(self, root: Path | None) -> None:
        """`root` is the project's folder; without it there are no modules beside a file."""
        self._root = root
        #: The modules beside the files; None until they are read.
        self._siblings: dict[str, str] | None = None
        self._made: dict[tuple[str, str], Bundle] = {}

    def of(self, dag: Dag) -> Bundle:
        """The bundle of this version."""
        found = self._made.get((dag.dag_id, dag.version))
        if found is None:
            if self._siblings is None:
                self._siblings = {} if self._root is None else _read(self._root / FOLDER)
            own = dag.file.removeprefix(f"{FOLDER}/")
            kept = dag.modules or {}
            siblings = {
                path: text for path, text in self._siblings.items() if path != own and path not in kept
            }
            modules = None if dag.modules is None else dict(dag.modules)
            text = orjson.dumps({"source": dag.source, "modules": modules, "siblings": siblings})
            found = Bundle(hashlib.sha256(text).hexdigest()[:32], text)
            self._made[dag.dag_id, dag.version] = found
        return found

    def forget(self) -> None:
        """The modules beside the files may be others from now on."""
        self._siblings = None
        self._made.clear()


def _read(folder: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    size = 0
    for path in sorted(folder.rglob("*.py")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
                continue
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # nothing can import it here either
        size += len(text)
        if size > _LARGEST:
            return {}
        texts[path.relative_to(folder).as_posix()] = text
    return texts
