"""What workflow files import when a function is called: found before it is called.

Imports at the top of a file are carried out by loading it. Here are those inside functions: of modules that are not
installed here, and, in tasks, of modules of the folder, which are forgotten once the file is loaded.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from tidemill.dag.definition import Dag
from tidemill.project.imports import Imported, ModuleTexts, imported
from tidemill.project.remarks import Remark
from tidemill.project.workflows import FOLDER

__all__ = ["check_imports"]


def check_imports(dags: Mapping[str, Dag], root: Path) -> list[Remark]:
    """Everything that functions of these DAGs' files import and will not find."""
    texts = ModuleTexts((root / FOLDER).absolute())
    files: dict[str, str] = {}
    for dag in dags.values():
        files[dag.file] = dag.source
        files.update((f"{FOLDER}/{path}", text) for path, text in (dag.modules or {}).items())
    return sorted({remark for file, text in files.items() for remark in _in_file(file, text, texts)})


def _in_file(file: str, text: str, texts: ModuleTexts) -> Iterator[Remark]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return
    path = Path(file).relative_to(FOLDER) if file.startswith(f"{FOLDER}/") else Path(file)
    package = ".".join(path.parts[:-1])
    for one in imported(tree, package):
        if one.is_late and not one.is_optional and (remark := _remark(one, file, texts)) is not None:
            yield remark


def _remark(one: Imported, file: str, texts: ModuleTexts) -> Remark | None:
    top = one.name.partition(".")[0]
    if texts.has(one.name):
        if one.task is None:
            return None  # it may be called while the file is loaded
        message = (
            f"task function {one.task!r} imports {one.name!r} of {FOLDER}/ when it is called, and will not find it; "
            "import it at the top of the file"
        )
        return Remark(file, one.line, one.column, "late-import", message)
    if _is_installed(top):
        return None
    message = f"a function imports {top!r}, and there is no such module here"
    return Remark(file, one.line, one.column, "late-dependency", message)


@lru_cache(maxsize=4096)
def _is_installed(top: str) -> bool:
    if top in sys.modules or top in sys.stdlib_module_names:
        return True
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError, AttributeError):
        return False
