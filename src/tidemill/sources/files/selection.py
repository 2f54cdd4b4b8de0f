"""Which files of a folder a source announces, by name alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from wcmatch import glob

__all__ = ["UNFINISHED_SUFFIXES", "Selection"]

#: Names under which programs keep files that they have not finished.
UNFINISHED_SUFFIXES = (".tmp", ".part", ".crdownload", ".swp")
_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.CASE | glob.FORCEUNIX


class Selection:
    """The rule of one source. `marker` is the suffix of marker files, None when the source uses none."""

    def __init__(
        self, include: Sequence[str], exclude: Sequence[str] = (), *, marker: str | None = None
    ) -> None:
        self.marker = marker
        self._globs = glob.compile(list(include), flags=_FLAGS, exclude=list(exclude) or None)

    def takes(self, path: str) -> bool:
        """Whether the file at `path` (relative to the folder) may be announced.

        Never: anything hidden (a name on the way to it begins with a dot), unfinished names, marker files.
        """
        if path.startswith(".") or "/." in path or path.lower().endswith(UNFINISHED_SUFFIXES):
            return False
        if self.marker is not None and path.endswith(self.marker):
            return False
        return bool(self._globs.match(path))

    def marked_by(self, path: str) -> str:
        """The file that a change of `path` speaks of: the marked file for a marker, else `path` itself."""
        if self.marker is not None and path.endswith(self.marker):
            return path[: -len(self.marker)]
        return path
