"""Access to a watched folder, one name at a time. Blocking: runs in threads, never in the loop.

Rules (the security checklist's S12):
1. Every access goes from a descriptor of the folder, one name at a time, and follows no symbolic link. What
   lies outside the folder cannot be read, whatever is swapped while we look.
2. Regular files only: opened without blocking, then asked what they are.
3. The root itself is what its owner configured; it may be a link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tidemill.sources.files.version import Version

__all__ = ["is_gone", "open_below", "open_file", "open_root", "parent_of", "version_at"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: What opening says of a name that is not there, or is a link, or (ENXIO) a socket.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})


def is_gone(error: OSError) -> bool:
    """Whether `error` says that there is nothing of ours under that name (any more)."""
    return error.errno in _GONE


@contextmanager
def open_root(path: Path) -> Iterator[int]:
    """A descriptor of the folder; raises OSError when it is not there."""
    root = os.open(path, _DIRECTORY)
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def open_below(root: int, names: Sequence[str]) -> Iterator[int]:
    """A descriptor of the folder that `names` lead to; raises OSError at a link on the way."""
    here = root
    try:
        for name in names:
            if name in {"", ".", ".."}:
                raise FileNotFoundError(errno.ENOENT, "not a name", name)
            below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            if here != root:
                os.close(here)
            here = below
        yield here
    finally:
        if here != root:
            os.close(here)


@contextmanager
def parent_of(root: int, path: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the folder that holds `path`, and its last name; raises OSError at a link above."""
    *above, name = path.split("/")
    with open_below(root, above) as folder:
        yield folder, name


@contextmanager
def open_file(folder: int, name: str) -> Iterator[int | None]:
    """A descriptor of the regular file `name` in the open `folder`; None when it is something else."""
    file = os.open(name, _FILE, dir_fd=folder)
    try:
        yield file if stat.S_ISREG(os.fstat(file).st_mode) else None
    finally:
        os.close(file)


def version_at(root: int, path: str) -> Version | None:
    """The version of what has that path below the open `root`, never through a link; None when nothing has."""
    try:
        with parent_of(root, path) as (parent, name):
            return Version.from_stat(os.stat(name, dir_fd=parent, follow_symlinks=False))
    except OSError as error:
        if is_gone(error):
            return None
        raise
