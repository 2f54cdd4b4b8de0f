"""Whether somebody still has a file open for writing: the kernel knows, so it is asked.

A read lease on a file is granted only while nobody has it open for writing (fcntl(2), F_SETLEASE). It is
taken and given back at once. The answer is used only where the kernel itself keeps the writers of a file
system: a network file system refuses leases for reasons of its own, and a file of another user needs
CAP_LEASE. Where nothing is known the answer is "no", and the quiet time alone decides.
"""

from __future__ import annotations

import errno
import signal
import sys

from tidemill.sources.files import mounts

__all__ = ["is_open_for_writing", "knows_writers"]

#: File systems whose writers are all on this machine.
_LOCAL = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"}
)


def knows_writers(folder: int) -> bool:
    """Whether `is_open_for_writing` can be believed for files in the open `folder`."""
    return mounts.kind_of(folder) in _LOCAL


def is_open_for_writing(file: int) -> bool:
    """Whether the kernel says that somebody has `file` open for writing; False when it does not say."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        # Should a writer come between the two calls, the kernel tells us by a signal: one that is ignored.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False
