"""The identity of a file's content, and the memory of which identities were announced.

A version is (path, inode, size, mtime_ns). Paths are relative to the source's folder, "/" between names,
decoded as `os.fsdecode` does, so that every name the file system allows has one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemill.storage.contract import FileVersion

__all__ = ["Announced", "Version", "is_text", "readable"]

#: Bytes kept per announced version. 120 bits: among a billion versions a collision has odds of one in 10^18,
#: and 15 bytes are the most that fit the allocator's 48-byte class.
_KEY_BYTES = 15


@dataclass(frozen=True, slots=True)
class Version:
    """One state of one file; any write, truncation or replacement gives another one."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def from_stat(cls, found: os.stat_result) -> Version:
        """The version that a `stat` shows."""
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


class Announced:
    """Which versions were announced, as hashes: about 90 bytes each, whatever the path's length.

    Only the event loop adds; threads may ask at the same time.
    """

    def __init__(self, *, recalls: bool = False) -> None:
        """`recalls`: digests are kept too (about 130 bytes more each), so that no file is read again for its set."""
        self._keys: set[bytes] = set()
        self._digests: dict[bytes, str] | None = {} if recalls else None

    def __len__(self) -> int:
        return len(self._keys)

    def has(self, path: str, version: Version) -> bool:
        """Whether this version of the file was announced."""
        return _key(readable(path), version.inode, version.size, version.mtime_ns) in self._keys

    def recall(self, path: str, version: Version) -> str | None:
        """The digest of a version that was announced; None where it was not, or where digests are not kept."""
        if self._digests is None:
            return None
        return self._digests.get(_key(readable(path), version.inode, version.size, version.mtime_ns))

    def add(self, row: FileVersion) -> None:
        """Remember a version that is in the ledger."""
        key = _key(row.path, row.inode, row.size, row.mtime_ns)
        self._keys.add(key)
        if self._digests is not None:
            self._digests[key] = row.digest


def is_text(path: str) -> bool:
    """Whether the path's bytes are UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(path: str) -> str:
    """The path as valid Unicode: itself, or with `\\xNN` for every byte that is not UTF-8."""
    return path if is_text(path) else os.fsencode(path).decode("utf-8", "backslashreplace")


def _key(path: str, inode: int, size: int, mtime_ns: int) -> bytes:
    return blake2b(f"{path}\0{inode}\0{size}\0{mtime_ns}".encode(), digest_size=_KEY_BYTES).digest()
