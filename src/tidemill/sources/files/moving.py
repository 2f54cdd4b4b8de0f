"""Moving one version of one file into the archive. Blocking: runs in threads.

Rules:
1. What arrives in the archive is the version that was announced, whole and on disk, before its name in the watched
   folder goes. Dying at any line leaves the file in one of the two places or in both; doing it again ends it.
2. Nothing in the archive is overwritten: a name that is taken by something else gets the event's id appended.
3. A newer version that took the file's name meanwhile keeps it.
4. Links are followed neither here nor there (`folder`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from pathlib import Path

from tidemill.sources.files import folder
from tidemill.sources.files.version import Version

__all__ = ["Moved", "move"]

_CHUNK = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: What a file system says that has no hard links, or does not allow them.
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})


class Moved(Enum):
    """What came of it."""

    MOVED = auto()
    #: The version is not there (any more): moved before, removed, or replaced by another one.
    GONE = auto()


def move(root: Path, path: str, version: Version | None, *, archive: Path, place: str, mark: str) -> Moved:
    """Move the file at `path` below `root` to `place` below `archive`; raises OSError when it cannot be.

    `version`: only that one (None: whatever is there, for markers); `mark` tells its name from others in the archive.
    """
    with folder.open_root(root) as here, folder.parent_of(here, path) as (parent, name):
        try:
            with folder.open_file(parent, name) as file:
                if file is None:
                    return Moved.GONE
                found = Version.from_stat(os.fstat(file))
                if version is not None and found != version:
                    return Moved.GONE
                with _made(archive, place) as (target, target_name):
                    if not _arrive(file, parent, name, target, target_name, mark=mark):
                        return Moved.GONE
                    os.fsync(target)
        except FileNotFoundError:
            return Moved.GONE
        _leave(parent, name, found, mark)
    return Moved.MOVED


@contextmanager
def _made(archive: Path, place: str) -> Iterator[tuple[int, str]]:
    """The open folder of `place`, made where it is missing, and the last name."""
    archive.mkdir(parents=True, exist_ok=True)
    *above, name = place.split("/")
    with folder.open_root(archive) as root:
        for depth in range(len(above)):
            with folder.open_below(root, above[:depth]) as inside, suppress(FileExistsError):
                os.mkdir(above[depth], dir_fd=inside)
        with folder.open_below(root, above) as inside:
            yield inside, name


def _arrive(file: int, parent: int, name: str, target: int, target_name: str, *, mark: str) -> bool:
    """Have the open file under its name in the archive; False when its name leads to another file by now."""
    for candidate in (target_name, f"{target_name}.{mark}"):
        try:
            os.link(name, candidate, src_dir_fd=parent, dst_dir_fd=target, follow_symlinks=False)
        except FileExistsError:
            if _is_same(file, target, candidate):
                return True
            continue
        except OSError as error:
            if error.errno != errno.EXDEV and error.errno not in _NO_LINKS:
                raise
            if _copy(file, target, candidate, mark=mark):
                return True
            continue
        if os.stat(candidate, dir_fd=target, follow_symlinks=False).st_ino != os.fstat(file).st_ino:
            os.unlink(candidate, dir_fd=target)  # the name was given to another file between two calls
            return False
        return True
    raise FileExistsError(errno.EEXIST, "both names in the archive are taken", target_name)


def _copy(file: int, target: int, name: str, *, mark: str) -> bool:
    """Copy the open file, whole and on disk before it has its name; False when the name is taken."""
    unfinished = f".{name}.{mark}.unfinished"
    with suppress(FileNotFoundError):  # of a copy that died
        os.unlink(unfinished, dir_fd=target)
    about = os.fstat(file)
    copy = os.open(unfinished, _NEW, 0o600, dir_fd=target)
    try:
        at = 0
        while piece := os.pread(file, _CHUNK, at):
            _write(copy, piece)
            at += len(piece)
        os.fchmod(copy, about.st_mode & 0o777)
        os.utime(copy, ns=(about.st_atime_ns, about.st_mtime_ns))
        os.fsync(copy)
    finally:
        os.close(copy)
    if Version.from_stat(os.fstat(file)) != Version.from_stat(about):
        os.unlink(unfinished, dir_fd=target)
        raise OSError(errno.EBUSY, "it changed while it was copied")
    try:
        os.link(unfinished, name, src_dir_fd=target, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        return _is_same(file, target, name)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if _exists(target, name):  # without links there is no way to see and take a name at once
            return _is_same(file, target, name)
        os.rename(unfinished, name, src_dir_fd=target, dst_dir_fd=target)
        return True
    finally:
        with suppress(FileNotFoundError):
            os.unlink(unfinished, dir_fd=target)
    return True


def _write(copy: int, piece: bytes) -> None:
    while piece:
        piece = piece[os.write(copy, piece) :]


def _leave(parent: int, name: str, version: Version, mark: str) -> None:
    """Remove the name, unless it leads to another version by now."""
    aside = f".{name}.{mark}.archived"[-255:]
    try:
        # First aside, then looked at: what is unlinked is what was looked at.
        os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
    except FileNotFoundError:
        return
    found = os.stat(aside, dir_fd=parent, follow_symlinks=False)
    if Version.from_stat(found) == version:
        os.unlink(aside, dir_fd=parent)
        return
    try:
        os.link(aside, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        pass  # a still newer one: what was aside lived for a moment only
    except OSError:
        os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
        return
    os.unlink(aside, dir_fd=parent)


def _is_same(file: int, target: int, name: str) -> bool:
    """Whether the name in the archive already is this file, or a whole copy of it."""
    about, there = os.fstat(file), os.stat(name, dir_fd=target, follow_symlinks=False)
    if (about.st_dev, about.st_ino) == (there.st_dev, there.st_ino):
        return True
    if (about.st_size, about.st_mtime_ns) != (there.st_size, there.st_mtime_ns):
        return False
    with folder.open_file(target, name) as copy:
        return copy is not None and _same_content(file, copy)


def _same_content(one: int, other: int) -> bool:
    at = 0
    while True:
        left, right = os.pread(one, _CHUNK, at), os.pread(other, _CHUNK, at)
        if left != right:
            return False
        if not left:
            return True
        at += len(left)


def _exists(target: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=target, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
