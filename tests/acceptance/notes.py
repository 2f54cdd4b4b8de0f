"""What the outside writes down while it sends and receives: JSON lines, each whole or not at all."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

__all__ = ["Notes", "now_us"]


def now_us() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1000


class Notes:
    """One file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self.count = 0

    def write(self, **line: Any) -> None:
        """Append one line."""
        self._file.write(json.dumps(line).encode() + b"\n")
        self.count += 1

    def close(self) -> None:
        """No more lines."""
        self._file.close()
