"""What only Linux gives to a process: to die with its parent, and to be the parent of orphans. Elsewhere: nothing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

__all__ = ["adopt_orphans", "children_of", "die_with_parent", "end_children", "has_children"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
#: Rounds in which children that keep making children are hunted.
_ROUNDS = 50

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """The kernel kills this process when the thread that made it is gone."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def adopt_orphans() -> None:
    """Descendants whose parents end become children of this process, so that none of them gets away."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def has_children() -> bool:
    """Whether this process has children, dead ones that nobody has asked after included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def children_of(parent: int) -> Iterator[int]:
    """Process ids of its children."""
    wanted = str(parent).encode()
    with contextlib.suppress(OSError):
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if (entry / "stat").read_bytes().rpartition(b")")[2].split()[1] == wanted:
                    yield int(entry.name)


def end_children(*, spared: Collection[int] = ()) -> None:
    """Kill all children of this process, and theirs as they come to be ours."""
    own = os.getpid()
    for _ in range(_ROUNDS):
        found = [pid for pid in children_of(own) if pid not in spared]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
