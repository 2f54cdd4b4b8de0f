"""What the outside writes down while it sends and receives: JSON lines, each whole or not at all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Notes", "now_us", "wait_until"]

_POLL_SECONDS = 0.02


def now_us() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1000


async def wait_until(holds: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Look again and again until it holds; `TimeoutError` after `seconds`. Other processes tell us nothing."""
    async with asyncio.timeout(seconds):
        while True:
            if holds():
                return
            await asyncio.sleep(_POLL_SECONDS)


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
