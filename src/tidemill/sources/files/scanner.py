"""The scan: every file of a folder that is not known yet. The truth that the watch only hints at.

Blocking: runs in a thread. Costs a listing per folder and a `stat` per selected file; keeps nothing between
scans.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.sources.files import folder, selection
from tidemill.sources.files.version import Version

__all__ = ["Scan", "Scanner", "Sighting"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file that a scan found."""

    path: str
    version: Version


@dataclass(slots=True)
class Scan:
    """What a scan found that was not known."""

    #: Most sightings that are wanted.
    limit: int
    sightings: list[Sighting] = field(default_factory=list)
    #: True when it stopped at its limit: scan again when these are done.
    truncated: bool = False
    #: The first folder that could not be listed, and why; empty when all could.
    error: str = ""


class Scanner:
    """Lists one folder. `is_known` is asked from the scanning thread."""

    def __init__(
        self, path: Path, rule: selection.Selection, *, is_known: Callable[[str, Version], bool]
    ) -> None:
        self._path = path
        self._rule = rule
        self._is_known = is_known

    def scan(self, *, limit: int, below: str = "") -> Scan:
        """Up to `limit` selected files that are not known; with markers, only files whose marker is there.

        `below`: only in the folder with that prefix ("a/b/"). Raises OSError when the folder cannot be listed.
        """
        with folder.open_root(self._path) as root:
            found = Scan(limit)
            if below:
                with folder.open_below(root, below.rstrip("/").split("/")) as first:
                    pending = self._list(first, below, found)
            else:
                pending = self._list(root, "", found)
            while pending and not found.truncated:
                prefix = pending.pop()
                try:
                    with folder.open_below(root, prefix.rstrip("/").split("/")) as here:
                        pending.extend(self._list(here, prefix, found))
                except OSError as error:
                    if not folder.is_gone(error):
                        found.error = found.error or f"{prefix}: {error.strerror}"
        return found

    def _list(self, here: int, prefix: str, found: Scan) -> list[str]:
        """List the open folder `here` into `found`; the prefixes of the folders in it."""
        marked = self._marked(here)
        below = []
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith(".") and self._rule.enters(f"{prefix}{entry.name}/"):
                        below.append(f"{prefix}{entry.name}/")
                elif entry.is_file(follow_symlinks=False) and (marked is None or entry.name in marked):
                    self._see(entry, prefix + entry.name, found)
                    if found.truncated:
                        break
        return below

    def _see(self, entry: os.DirEntry[str], path: str, found: Scan) -> None:
        if not self._rule.takes(path):
            return
        try:
            version = Version.from_stat(entry.stat(follow_symlinks=False))
        except FileNotFoundError:
            return
        if not self._is_known(path, version):
            found.sightings.append(Sighting(path, version))
            found.truncated = len(found.sightings) >= found.limit

    def _marked(self, here: int) -> set[str] | None:
        """The names whose marker is in the open folder `here`; None when the source uses no markers."""
        marker = self._rule.marker
        if marker is None:
            return None
        with os.scandir(here) as entries:
            return {entry.name[: -len(marker)] for entry in entries if entry.name.endswith(marker)}
