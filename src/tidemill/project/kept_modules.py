"""Modules whose texts are kept with a version, imported from memory in place of what the folder holds now.

A module that is not among them (its name was made at run time) is still looked for in the folder, where there is one.
"""

from __future__ import annotations

import importlib.util
import linecache
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

__all__ = ["importing"]


@contextmanager
def importing(modules: Mapping[str, str], label: str, folder: Path | None) -> Iterator[None]:
    """Inside, these modules (texts by path) are the ones that are imported by their names; forgotten afterwards.

    `label` names the version in their file names. The caller sees to it that nobody else imports meanwhile.
    """
    finder = _Finder(modules, label, folder)
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if finder.serves(name)}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if finder.serves(name)]:
            del sys.modules[name]
        sys.modules.update(before)


class _Finder(MetaPathFinder):
    """Finds the kept modules and the packages around them."""

    def __init__(self, modules: Mapping[str, str], label: str, folder: Path | None) -> None:
        self._folder = folder
        #: Name, text, and whether it is a package.
        self._kept: dict[str, tuple[str, str, bool]] = {}
        #: Packages without a file of their own.
        self._bare: set[str] = set()
        for path, text in modules.items():
            parts = path.removesuffix(".py").split("/")
            is_package = parts[-1] == "__init__"
            if is_package:
                parts.pop()
            self._kept[".".join(parts)] = (f"<{path} {label}>", text, is_package)
            self._bare.update(".".join(parts[:length]) for length in range(1, len(parts)))
        self._bare -= self._kept.keys()

    def serves(self, name: str) -> bool:
        """Whether the module is one of these."""
        return name in self._kept or name in self._bare

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `MetaPathFinder`."""
        kept = self._kept.get(fullname)
        if kept is not None:
            file, text, is_package = kept
            spec = importlib.util.spec_from_loader(
                fullname, _Loader(file, text), origin=file, is_package=is_package
            )
            if spec is not None:
                spec.has_location = True  # tracebacks and `DagDefinition` read where code is from
                if is_package:
                    spec.submodule_search_locations = self._locations(fullname)
            return spec
        if fullname in self._bare:
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = self._locations(fullname)
            return spec
        return None

    def _locations(self, name: str) -> list[str]:
        return [] if self._folder is None else [str(self._folder.joinpath(*name.split(".")))]


class _Loader(InspectLoader):
    """Executes a text."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._text = text

    def get_source(self, fullname: str) -> str:
        """The text."""
        return self._text

    def get_code(self, fullname: str) -> CodeType:
        """The text, compiled; tracebacks show its lines."""
        linecache.cache[self._file] = (
            len(self._text),
            None,
            self._text.splitlines(keepends=True),
            self._file,
        )
        return compile(self._text, self._file, "exec", dont_inherit=True)
