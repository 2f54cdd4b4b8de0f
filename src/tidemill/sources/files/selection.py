"""Which files of a folder a source announces, by name alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wcmatch import glob

__all__ = ["UNFINISHED_SUFFIXES", "Selection"]

#: Names under which programs keep files that they have not finished.
UNFINISHED_SUFFIXES = (".tmp", ".part", ".crdownload", ".swp")
_FLAGS = glob.GLOBSTAR | glob.BRACE | glob.CASE | glob.FORCEUNIX


class Selection:
    """The rule of one source. `marker` is the suffix of marker files, None when the source uses none."""

    def __init__(
        self,
        include: Sequence[str],
        exclude: Sequence[str] = (),
        *,
        marker: str | None = None,
        proofs: Callable[[str], bool] = lambda _path: False,
        speaks: Callable[[str], bool] = lambda _path: False,
        belongs: Callable[[str], bool] = lambda _path: True,
        archive: str | None = None,
    ) -> None:
        """Files that `proofs` names only speak of others; those that `speaks` names count whatever `include` says;
        others count only where `belongs` says so. `archive`: the prefix of a folder in which nothing counts.
        """
        self.marker = marker
        self._proofs = proofs
        self._speaks = speaks
        self._belongs = belongs
        self._archive = archive
        self._globs = glob.compile(list(include), flags=_FLAGS, exclude=list(exclude) or None)

    def takes(self, path: str) -> bool:
        """Whether the file at `path` (relative to the folder) may be announced.

        Never: anything hidden (a name on the way to it begins with a dot), unfinished names, marker files, files
        that say the digests of others, the archive.
        """
        if path.startswith(".") or "/." in path or path.lower().endswith(UNFINISHED_SUFFIXES):
            return False
        if self.marker is not None and path.endswith(self.marker):
            return False
        if self._archive is not None and path.startswith(self._archive):
            return False
        if self._speaks(path):
            return True
        return not self._proofs(path) and self._belongs(path) and bool(self._globs.match(path))

    def enters(self, prefix: str) -> bool:
        """Whether files in the folder with that prefix ("a/b/") may count."""
        return self._archive is None or not prefix.startswith(self._archive)

    def marked_by(self, path: str) -> str:
        """The file that a change of `path` speaks of: the marked file for a marker, else `path` itself."""
        if self.marker is not None and path.endswith(self.marker):
            return path[: -len(self.marker)]
        return path
