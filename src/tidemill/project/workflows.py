"""The workflows folder: Python files become DAGs, or problems with file and line.

Rules:

1. Each file is executed from its own text under a private module name; nothing of it enters the public names
   of `sys.modules`, and the text that ran is the text that is kept as the DAG's source.
2. Files import their siblings by plain name while they are loaded. Siblings are forgotten afterwards, so that
   a reload reads their new text: import them at the top of a file, not inside a task.
3. A file belongs to the DAGs that its own module-level code declares, also through a factory of a sibling.
4. A version is a file with the siblings that it imports: their texts are kept with it, and what loads a kept version
   imports those texts and not what the folder holds by then.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import linecache
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from tidemill.dag import raised
from tidemill.dag.build import build
from tidemill.dag.declaration import DagDefinition, collect
from tidemill.dag.definition import Dag
from tidemill.errors import DefinitionError, Problem
from tidemill.project.imports import MAX_FILE_BYTES, ModuleTexts
from tidemill.project.kept_modules import importing
from tidemill.project.waits import unknown_dags, wait_problems
from tidemill.runs.conditions import problems_of

__all__ = [
    "FOLDER",
    "MAX_FILE_BYTES",
    "load_module",
    "load_source",
    "load_version",
    "load_workflows",
    "siblings",
]

FOLDER = "workflows"
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
    texts = ModuleTexts(folder)
    with siblings(folder):
        for path in _files(folder):
            file = path.relative_to(root.absolute()).as_posix()
            loaded = _load_file(path, file)
            if isinstance(loaded, Problem):
                problems.append(loaded)
                continue
            text, definitions = loaded
            modules = texts.of(text) if definitions else {}
            for definition in definitions:
                first = places.setdefault(str(definition.dag_id), (file, definition.line))
                if first != (file, definition.line):
                    problems.append(_duplicate(definition, file, first))
                built = build(definition, file=file, source=text, modules=modules, max_tasks=max_tasks)
                if isinstance(built, Dag):
                    problems.extend(wait_problems(built))
                    dags.setdefault(built.dag_id, built)
                    problems.extend(problems_of(built))
                else:
                    problems.extend(built)
    if not problems:  # what a refused file defines may be meant
        problems.extend(unknown_dags(dags))
    return dags, sorted(problems)


def load_source(
    source_text: str,
    file: str,
    dag_id: str,
    *,
    root: Path | None = None,
    modules: Mapping[str, str] | None = None,
    max_tasks: int = 1_000_000,
) -> Dag:
    """The DAG `dag_id` of a kept version, made again from the text of its file.

    Siblings are imported from `modules`, the texts that are kept with it by path relative to the workflows folder.
    Where they are None they are not known: then, and for what is not among them, siblings are imported from the
    project at `root` as it is now, where one is given. Raises `DefinitionError` when the text does not make that DAG
    any more.
    """
    label = _digest(file, source_text)
    name = f"<{file} {label}>"
    linecache.cache[name] = (len(source_text), None, source_text.splitlines(keepends=True), name)
    folder = None if root is None else (root / FOLDER).absolute()
    with siblings(folder), _kept(modules, label, folder):
        found = _execute(source_text, name, file)
        if isinstance(found, Problem):
            raise DefinitionError([found])
        for definition in found:
            if definition.dag_id == dag_id:
                built = build(definition, file=file, source=source_text, modules=modules, max_tasks=max_tasks)
                if isinstance(built, Dag):
                    return built
                raise DefinitionError(built)
    raise DefinitionError([Problem(file, 0, f"this version does not declare DAG {dag_id!r}")])


def load_version(
    dag_id: str,
    version: str,
    *,
    file: str,
    source: str,
    modules: Mapping[str, str] | None,
    root: Path | None,
) -> Dag:
    """A kept version of a DAG as it was; raises `DefinitionError` when its text makes another graph by now."""
    dag = load_source(source, file, dag_id, root=root, modules=modules)
    if dag.version != version:
        reason = f"the kept source of {dag_id}@{version} now makes another graph ({dag.version})"
        raise DefinitionError([Problem(file, 0, reason)])
    return dag


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
        place = (error.lineno or 0, f"syntax error: {error.msg}", error.offset or 0)
        return Problem(file, *place, rule="syntax")
    except (ValueError, RecursionError, MemoryError) as error:
        return Problem(file, 0, f"the file cannot be compiled: {error}", rule="syntax")
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
        return _import_problem(error, name, file)
    return [definition for definition in found if definition.file == name]


def _import_problem(error: BaseException, name: str, file: str) -> Problem:
    message = f"importing the file raised {raised.describe(error)}"
    rule = "import"
    if isinstance(error, SyntaxError) and error.filename != name:  # in a module beside it
        message += f" ({Path(error.filename or '').name}:{error.lineno})"
    elif isinstance(error, ModuleNotFoundError) and error.name:
        rule = "missing-dependency"
        message += f"; install what brings {error.name.partition('.')[0]!r}, or correct the name"
    elif isinstance(error, ImportError):
        rule = "missing-dependency"
    return Problem(file, raised.line_in(error, name), message, rule=rule)


def _digest(file: str, text: str) -> str:
    return hashlib.sha256(f"{file}\0{text}".encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _duplicate(second: DagDefinition, file: str, first: tuple[str, int]) -> Problem:
    place = f"{first[0]}:{first[1]}"
    message = f"DAG {second.dag_id!r} is declared twice; the other one is at {place}"
    return Problem(file, second.line, message, rule="duplicate-dag")


@contextmanager
def _kept(modules: Mapping[str, str] | None, label: str, folder: Path | None) -> Iterator[None]:
    if not modules:
        yield
        return
    with _loading, importing(modules, label, folder):
        yield


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
