"""Files that belong together: which of them are there, and when a set is complete. Pure; belongs to the event loop.

Rules:
1. Order does not matter: a set is looked at again whenever one of its files, or the file that speaks for it, lands.
2. A set's version follows from the versions of all its files: the same files are the same set, however often and
   in whatever order they are seen; a changed file makes another version.
3. What is gathered here is in memory only. After a restart the scan finds the same files, and so the same sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Protocol

from tidemill.sources.files.reader import Landed
from tidemill.sources.files.version import Version, readable

__all__ = ["FileSet", "Gathering", "Held"]


@dataclass(frozen=True)
class FileSet:
    """A set whose files all landed."""

    #: What tells it from other sets of the source.
    key: str
    #: In the order of their paths.
    files: tuple[Landed, ...]
    #: The values in the names that make the key.
    holes: Mapping[str, str] = field(default_factory=dict)
    #: The file that speaks for the set: its manifest, or the one that says that all is there.
    control: Landed | None = None
    #: Everything below this prefix ("a/b/") belongs to it; None where the files are named one by one.
    below: str | None = None
    #: Files that are not what the manifest says.
    wrong: tuple[str, ...] = ()
    #: Why the manifest cannot be read; empty when it can.
    error: str = ""

    @cached_property
    def digest(self) -> str:
        """Stands for the versions of all its files."""
        said = blake2b(readable(self.key).encode(), digest_size=16)
        controls = () if self.control is None else (self.control,)
        for file in (*controls, *self.files):
            found = file.version
            said.update(f"\0{readable(file.path)}\0{found.inode}\0{found.size}\0{found.mtime_ns}".encode())
        return said.hexdigest()

    @property
    def name(self) -> str:
        """What the ledger calls this version of the set; no file has such a path."""
        return f"{self.key}?set={self.digest}"

    @property
    def version(self) -> Version:
        """What stands in the ledger beside the name."""
        return Version(len(self.files), sum(file.version.size for file in self.files), 0)

    @property
    def all_files(self) -> tuple[Landed, ...]:
        """Its files and the one that speaks for it."""
        return self.files if self.control is None else (*self.files, self.control)


class Gathering(Protocol):
    """The files of one source by set. `put` and `forget` name the sets to be looked at again."""

    def takes(self, path: str) -> bool:
        """Whether the file at `path` can belong to a set."""

    def speaks(self, path: str) -> bool:
        """Whether the file at `path` speaks for a set: it is watched even where the source selects other files."""

    def reads(self, path: str) -> bool:
        """Whether the content of the file at `path` is wanted."""

    def put(self, file: Landed) -> Iterable[str]:
        """A file landed."""

    def forget(self, path: str) -> Iterable[str]:
        """A file is gone, or is another one now."""

    def assemble(self, key: str) -> FileSet | None:
        """The set, when all that it needs has landed."""

    def owns(self, prefix: str, path: str) -> bool:
        """Whether the file at `path` belongs to the set that is everything below `prefix`."""


class Held:
    """Every landed file, and which of them are in a set that was announced."""

    def __init__(self) -> None:
        self._files: dict[str, Landed] = {}
        self._done: set[str] = set()

    def __len__(self) -> int:
        """Files that wait for the rest of their set."""
        return len(self._files) - len(self._done)

    def has(self, path: str, version: Version) -> bool:
        """Whether this version landed. May be asked from other threads."""
        file = self._files.get(path)
        return file is not None and file.version == version

    def put(self, file: Landed) -> None:
        """A file landed."""
        self._files[file.path] = file
        self._done.discard(file.path)

    def forget(self, path: str) -> None:
        """A file is gone, or is another one now."""
        self._files.pop(path, None)
        self._done.discard(path)

    def finish(self, found: FileSet) -> None:
        """The set was announced or refused."""
        self._done.update(file.path for file in found.all_files if file.path in self._files)
