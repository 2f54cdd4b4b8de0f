"""Where files named in definitions lie: in the project, or absolute on purpose."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["inside"]


def inside(root: Path, written: str) -> Path | None:
    """`written` as an absolute path; None when a relative one leads out of `root`, or none can be made of it.

    Checked on the text alone: links are followed by whoever opens the file, not here.
    """
    if "\0" in written:
        return None
    path = Path(os.path.normpath(root / written))
    if Path(written).is_absolute() or path == root or root in path.parents:
        return path
    return None
