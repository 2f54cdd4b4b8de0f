"""Which modules of the workflows folder a file is made of, read from its text and theirs; nothing is executed.

What is named by an `import` statement anywhere in the text counts, also inside functions, and so does
`import_module("name")`; names that are made at run time cannot be seen. Modules of the standard library are never the
folder's.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

__all__ = ["MAX_FILE_BYTES", "Imported", "ModuleTexts", "imported"]

#: Longest file that is read, in bytes.
MAX_FILE_BYTES = 1024 * 1024

_CALLS = frozenset({"import_module", "__import__"})


@dataclass(frozen=True, slots=True)
class Imported:
    """One name that a text imports."""

    #: Dotted; absolute.
    name: str
    #: Names taken out of it, which may be modules too.
    members: tuple[str, ...]
    line: int
    column: int
    #: Inside a function: it is imported when that is called.
    is_late: bool
    #: The name of the function decorated as a task that it stands in.
    task: str | None = None
    #: Inside a `try` that catches something, or under `if TYPE_CHECKING`: its absence is provided for.
    is_optional: bool = False

    def modules(self) -> Iterator[str]:
        """Every module that the statement may import, packages first."""
        parts = self.name.split(".")
        yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))
        yield from (f"{self.name}.{member}" for member in self.members)


def imported(tree: ast.AST, package: str = "") -> Iterator[Imported]:
    """What a module's code imports; relative imports are made absolute in `package`."""
    yield from _walk(tree, package, _Place())


@dataclass(frozen=True, slots=True)
class _Place:
    is_late: bool = False
    task: str | None = None
    is_optional: bool = False


def _walk(node: ast.AST, package: str, place: _Place) -> Iterator[Imported]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                for alias in child.names:
                    yield _found(alias.name, (), child, place)
            case ast.ImportFrom():
                name = _absolute(child, package)
                if name:
                    yield _found(name, tuple(alias.name for alias in child.names), child, place)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                task = place.task or (child.name if any(map(_is_task, child.decorator_list)) else None)
                yield from _walk(child, package, _Place(True, task, place.is_optional))
            case ast.Lambda():
                yield from _walk(child, package, _Place(True, place.task, place.is_optional))
            case ast.Try(handlers=[_, *_]):
                yield from _walk(child, package, _Place(place.is_late, place.task, is_optional=True))
            case ast.If() if _is_for_checkers(child.test):
                yield from _walk(child, package, _Place(place.is_late, place.task, is_optional=True))
            case _:
                if isinstance(child, ast.Call) and (literal := _literal_import(child)):
                    yield _found(literal, (), child, place)
                yield from _walk(child, package, place)


def _found(name: str, members: tuple[str, ...], node: ast.stmt | ast.expr, place: _Place) -> Imported:
    return Imported(
        name,
        members,
        node.lineno,
        node.col_offset + 1,
        is_late=place.is_late,
        task=place.task,
        is_optional=place.is_optional,
    )


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    if node.level > len(parts):
        return ""  # beyond the top: the interpreter refuses it
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _is_task(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in ("task", "branch", "short_circuit")


def _is_for_checkers(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _literal_import(call: ast.Call) -> str | None:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in _CALLS or not call.args or not isinstance(call.args[0], ast.Constant):
        return None
    value = call.args[0].value
    return value if isinstance(value, str) and not value.startswith(".") else None


@dataclass(slots=True)
class ModuleTexts:
    """The modules of one folder as they are now; each is read once."""

    folder: Path
    #: Path relative to the folder, and text; None where there is no such module.
    _found: dict[str, tuple[str, str] | None] = field(default_factory=dict)
    #: Modules that a module imports itself.
    _below: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _names: frozenset[str] | None = None

    def of(self, text: str) -> dict[str, str]:
        """Texts of the modules that a file with this text is made of, by path, sorted."""
        found: dict[str, str] = {}
        pending = list(self._imported_by(text, ""))
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            module = self._find(name)
            if module is None:
                continue
            path, body = module
            found[path] = body
            below = self._below.get(name)
            if below is None:
                package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
                below = self._below[name] = tuple(self._imported_by(body, package))
            pending.extend(below)
        return dict(sorted(found.items()))

    def has(self, name: str) -> bool:
        """Whether the folder has this module, or files below it."""
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names:
            return False
        return self._find(name) is not None or self.folder.joinpath(*name.split(".")).is_dir()

    def _imported_by(self, text: str, package: str) -> Iterator[str]:
        if not (self._tops() & set(re.findall(r"\w+", text))) and not package:
            return  # nothing in it can name anything here
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return  # loading it says so
        for one in imported(tree, package):
            yield from one.modules()

    def _tops(self) -> frozenset[str]:
        """First parts of names that can be imported from the folder."""
        if self._names is None:
            inside = self.folder.iterdir() if self.folder.is_dir() else ()
            names = {path.stem if path.suffix == ".py" else path.name for path in inside}
            self._names = frozenset(names - sys.stdlib_module_names)
        return self._names

    def _find(self, name: str) -> tuple[str, str] | None:
        parts = name.split(".")
        if parts[0] not in self._tops() or not all(part.isidentifier() for part in parts):
            return None
        if name not in self._found:
            stem = PurePosixPath(*parts)
            tries = (stem / "__init__.py", stem.with_suffix(".py"))
            self._found[name] = next((made for path in tries if (made := self._read(path)) is not None), None)
        return self._found[name]

    def _read(self, path: PurePosixPath) -> tuple[str, str] | None:
        place = self.folder / path
        try:
            if not place.is_file() or place.stat().st_size > MAX_FILE_BYTES:
                return None
            return path.as_posix(), importlib.util.decode_source(place.read_bytes())
        except (OSError, SyntaxError, UnicodeDecodeError, LookupError):
            return None  # importing it says so
