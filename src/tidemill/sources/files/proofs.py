"""What a file's digest must be, as a file beside it or a list above it says. Blocking: runs in threads.

A proof makes waiting unnecessary: a file whose digest is the proven one is complete. It is read under the same rules
as the file itself (`folder`): no link is followed, nothing outside is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

from tidemill.sources.files import folder
from tidemill.sources.files.manifest import MAX_BYTES, ManifestInvalid, parse_manifest
from tidemill.sources.files.version import Version

__all__ = ["Proof", "Proofs", "read_small"]

#: Lists that are kept parsed.
_CACHE = 64


@dataclass(frozen=True, slots=True)
class Proof:
    """What is said of one file."""

    #: Path of the file that says it, relative to the source's folder.
    path: str
    #: Hex SHA-256; None when what is written cannot be read.
    digest: str | None
    #: Why it cannot be read; empty when it can.
    error: str = ""

    def refusal(self, path: str) -> str:
        """The name in the ledger under which a version of the file at `path` was refused because of this proof."""
        said = self.digest or self.error
        return f"{path}?refused={blake2b(said.encode(), digest_size=8).hexdigest()}"


class Proofs:
    """Finds proofs: `suffix` for a file beside each file, or `listing` for a list in its folder or one above."""

    def __init__(self, *, suffix: str | None = None, listing: str | None = None) -> None:
        self._suffix = suffix
        self._listing = listing
        #: Path of a list to its version and what it says (or why it says nothing).
        self._lists: dict[str, tuple[Version, Mapping[str, str | None] | str]] = {}

    def find(self, root: int, path: str) -> Proof | None:
        """The proof for the file at `path`, None when there is none (yet)."""
        if self._suffix is not None:
            return self._beside(root, path, path + self._suffix)
        for above, name in _folders_above(path):
            proof = self._in_list(root, above + str(self._listing), name)
            if proof is not None:
                return proof
        return None

    def _beside(self, root: int, path: str, place: str) -> Proof | None:
        found = read_small(root, place)
        if found is None:
            return None
        name = path.rpartition("/")[2]
        try:
            listed = parse_manifest(found[1])
        except ManifestInvalid as error:
            return Proof(place, None, str(error))
        for one in listed:
            if one.digest is not None and one.name.rpartition("/")[2] in (name, ""):
                return Proof(place, one.digest)
        return Proof(place, None, "it says no digest of its file")

    def _in_list(self, root: int, place: str, name: str) -> Proof | None:
        version = folder.version_at(root, place)
        if version is None:
            return None
        kept = self._lists.get(place)
        if kept is None or kept[0] != version:
            found = read_small(root, place)
            if found is None:
                return None
            kept = (found[0], _digests(found[1]))
            if len(self._lists) >= _CACHE:
                self._lists.clear()
            self._lists[place] = kept
        said = kept[1]
        if isinstance(said, str):
            return Proof(place, None, said)
        if name not in said:
            return None
        digest = said[name]
        return Proof(place, digest, "" if digest else "it says no digest of its file")


def read_small(root: int, path: str) -> tuple[Version, bytes] | None:
    """A small regular file below the open `root` with its version; None when there is none.

    A file that is too large is cut after `MAX_BYTES` + 1 bytes. Raises OSError when it cannot be read.
    """
    try:
        with folder.parent_of(root, path) as (parent, name), folder.open_file(parent, name) as file:
            if file is None:
                return None
            version = Version.from_stat(os.fstat(file))
            pieces, left = [], MAX_BYTES + 1
            while left > 0 and (piece := os.read(file, min(left, 1 << 20))):
                pieces.append(piece)
                left -= len(piece)
            return version, b"".join(pieces)
    except OSError as error:
        if folder.is_gone(error):
            return None
        raise


def _digests(content: bytes) -> Mapping[str, str | None] | str:
    try:
        return {one.name: one.digest for one in parse_manifest(content)}
    except ManifestInvalid as error:
        return str(error)


def _folders_above(path: str) -> Iterator[tuple[str, str]]:
    """Each folder on the way to `path`, nearest first ("a/b/", then "a/", then ""), and the path from there."""
    parts = path.split("/")
    for depth in range(len(parts) - 1, -1, -1):
        yield "".join(f"{part}/" for part in parts[:depth]), "/".join(parts[depth:])
