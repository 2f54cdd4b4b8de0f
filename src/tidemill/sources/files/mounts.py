"""What kind of file system a folder is on, and whether it tells of changes.

Asked of the kernel by the open folder's mount, not by its device number: subvolumes and bind mounts have their own.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["kind_of", "tells_nothing"]

_MOUNTS = Path("/proc/self/mountinfo")
#: File systems whose files others change without this kernel's doing: it tells of its own changes only.
_REMOTE = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "gfs2",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "prl_fs",
        "pvfs2",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
        "vmhgfs",
    }
)


def kind_of(folder: int) -> str | None:
    """The kind of file system of the open `folder` ("ext4", "nfs4", "fuse.sshfs"); None when it cannot be known."""
    if sys.platform != "linux":
        return None
    try:
        about = Path(f"/proc/self/fdinfo/{folder}").read_text("utf-8", "surrogateescape")
        wanted = next(line.split()[1] for line in about.splitlines() if line.startswith("mnt_id:"))
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except (OSError, StopIteration):
        return None
    for mount in mounts:  # proc(5): id parent major:minor root point options [tags] - type source options
        place, _, kind = mount.partition(" - ")
        if place.split(" ", 1)[0] == wanted:
            return kind.split(" ")[0]
    return None


def tells_nothing(kind: str | None) -> bool:
    """Whether files there change without events: network and user-space file systems.

    A kind that is not known may tell: the self-test finds out.
    """
    return kind is not None and (kind in _REMOTE or kind == "fuse" or kind.startswith("fuse."))
