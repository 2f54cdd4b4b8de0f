"""The workflows folder: Python files become DAGs, or problems with file and line.

Rules:

1. Each file is executed from its own text under a private module name; nothing of it enters the public names
   of `sys.modules`, and the text that ran is the text that is kept as the DAG's source.
2. Files import their siblings by plain name while they are loaded. Siblings are forgotten afterwards, so that
   a reload reads their new text: import them at the top of a file, not inside a task.
3. A file belongs to the DAGs that its own module-level code declares, also through a factory of a sibling.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import linecache
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from tidemill.dag import raised
from tidemill.dag.build import build
from tidemill.dag.declaration import DagDefinition, collect
from tidemill.dag.definition import Dag
from tidemill.errors import DefinitionError, Problem

__all__ = ["FOLDER", "MAX_FILE_BYTES", "load_module", "load_source", "load_workflows", "siblings"]

FOLDER = "workflows"
#: Longest definition file, in bytes.
MAX_FILE_BYTES = 1024 * 1024

_PRIVATE = "tidemill_workflow_"
#: Loading changes `sys.path` for a moment.
_loading = threading.RLock()


def load_workflows(root: Path, *, max_tasks: int) -> tuple[dict[str, Dag], list[Problem]]:
    """Every DAG of the project at `root` by id, and every problem of every file.

    Executes the module-level code of the files. The DAGs without a problem are there also when others have
    some; a project with problems is not to be served.
    """
    folder = (root / FOLDER).absolute()
    dags: dict[str, Dag] = {}
    problems: list[Problem] = []
    places: dict[str, tuple[str, int]] = {}
    with siblings(folder):
        for path in _files(folder):
            file = path.relative_to(root.absolute()).as_posix()
            loaded = _load_file(path, file)
            if isinstance(loaded, Problem):
                problems.append(loaded)
                continue
            text, definitions = loaded
            for definition in definitions:
                first = places.setdefault(str(definition.dag_id), (file, definition.line))
                if first != (file, definition.line):
                    problems.append(_duplicate(definition, file, first))
                built = build(definition, file=file, source=text, max_tasks=max_tasks)
                if isinstance(built, Dag):
                    dags.setdefault(built.dag_id, built)
                else:
                    problems.extend(built)
    return dags, sorted(problems)


def load_source(
    source_text: str, file: str, dag_id: str, *, root: Path | None = None, max_tasks: int = 1_000_000
) -> Dag:
    """The DAG `dag_id` of a kept version, made again from the text of its file.

    With `root`, siblings are imported from the project as it is now: their older text is not kept. Raises
    `DefinitionError` when the text does not make that DAG any more.
    """
    name = f"<{file} {_digest(file, source_text)}>"
    linecache.cache[name] = (len(source_text), None, source_text.splitlines(keepends=True), name)
    with siblings(None if root is None else (root / FOLDER).absolute()):
        found = _execute(source_text, name, file)
        if isinstance(found, Problem):
            raise DefinitionError([found])
        for definition in found:
            if definition.dag_id == dag_id:
                built = build(definition, file=file, source=source_text, max_tasks=max_tasks)
                if isinstance(built, Dag):
                    return built
                raise DefinitionError(built)
    raise DefinitionError([Problem(file, 0, f"this version does not declare DAG {dag_id!r}")])


def load_module(root: Path, name: str) -> ModuleType:
    """The module `name` of the workflows folder, as its files import it; raises whatever importing it raises.

    Executed anew each time: a reload sees its new text.
    """
    with siblings((root / FOLDER).absolute()):
        return importlib.import_module(name)


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(("_", ".")) for part in inside):
            yield path


def _load_file(path: Path, file: str) -> tuple[str, list[DagDefinition]] | Problem:
    """The text of a file and what it declares."""
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        return Problem(file, 0, f"the file cannot be read: {error.strerror or error}")
    if len(content) > MAX_FILE_BYTES:
        return Problem(file, 0, f"the file is larger than {MAX_FILE_BYTES} bytes; split it")
    try:
        text = importlib.util.decode_source(content)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        return Problem(
            file, 0, f"the file is not text in its encoding (UTF-8 unless it says otherwise): {error}"
        )
    found = _execute(text, str(path), file)
    return found if isinstance(found, Problem) else (text, found)


def _execute(text: str, name: str, file: str) -> list[DagDefinition] | Problem:
    """Run the module-level code of a file; what that code declared."""
    module = ModuleType(_PRIVATE + _digest(file, text))
    module.__file__ = name
    try:
        code = compile(text, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        return Problem(file, error.lineno or 0, f"syntax error: {error.msg}", error.offset or 0)
    except (ValueError, RecursionError, MemoryError) as error:
        return Problem(file, 0, f"the file cannot be compiled: {error}")
    # Kept under its private name: pickling and the resolution of annotations look a function's module up
    # there.
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        with collect() as found:
            exec(code, module.__dict__)  # noqa: S102 - the user's own definition file
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        if before is not None:
            sys.modules[module.__name__] = before
        return Problem(
            file, raised.line_in(error, name), f"importing the file raised {raised.describe(error)}"
        )
    return [definition for definition in found if definition.file == name]


def _digest(file: str, text: str) -> str:
    return hashlib.sha256(f"{file}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _duplicate(second: DagDefinition, file: str, first: tuple[str, int]) -> Problem:
    place = f"{first[0]}:{first[1]}"
    return Problem(file, second.line, f"DAG {second.dag_id!r} is declared twice; the other one is at {place}")


@contextmanager
def siblings(folder: Path | None) -> Iterator[None]:
    """Files of `folder` can be imported by plain name inside, and are forgotten afterwards."""
    if folder is None:
        yield
        return
    place = str(folder)
    with _loading:
        before = dict(sys.modules)
        writes = sys.dont_write_bytecode
        sys.path.insert(0, place)
        # Compiled files are told apart by whole seconds: an edit right after a load would not be seen.
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.dont_write_bytecode = writes
            if place in sys.path:
                sys.path.remove(place)
            for name, module in list(sys.modules.items()):
                if before.get(name) is not module and _is_inside(module, place):
                    del sys.modules[name]


def _is_inside(module: ModuleType, place: str) -> bool:
    if module.__name__.startswith(_PRIVATE):
        return False
    file = getattr(module, "__file__", None)
    paths = [file] if file else [str(one) for one in getattr(module, "__path__", ())]
    return any(Path(one).is_relative_to(place) for one in paths)
