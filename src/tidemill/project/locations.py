"""Where files named in definitions lie: in the project, or absolute on purpose.

Decided on the text alone: links are followed by whoever opens the file, not here.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["leads_out", "locate"]


def leads_out(written: str) -> bool:
    """Whether `written` is a relative path out of the project, or no path at all."""
    if "\0" in written:
        return True
    path = Path(os.path.normpath(written))
    return path.parts[:1] == (os.pardir,)


def locate(root: Path, written: str) -> Path:
    """`written`, which does not lead out of `root`, as an absolute path without `..`."""
    return Path(os.path.normpath(root / written))
