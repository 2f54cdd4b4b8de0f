"""What one attempt may use of its worker process: memory and processor time, by the kernel's own limits (Linux).

Only the soft limits are moved, and moved back: a process that has lowered its hard limits could never be used again.
The memory is counted from what the process holds before the call; what the task maps as shared is not counted.
"""

from __future__ import annotations

import contextlib
import math
import resource
from pathlib import Path
from types import TracebackType

from tidemill.errors import MemoryExceeded

__all__ = ["allowed", "data_size"]

_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()
_NO_LIMIT = resource.RLIM_INFINITY


class allowed:  # noqa: N801 - a context manager
    """The limits hold inside; raises `MemoryExceeded` where the task met its limit of memory."""

    def __init__(self, *, memory: int, cpu_seconds: float) -> None:
        """0 for no limit."""
        self._memory = memory
        self._cpu_seconds = cpu_seconds

    def __enter__(self) -> None:
        if self._memory:
            _set(resource.RLIMIT_DATA, data_size() + self._memory)
        if self._cpu_seconds:
            used = resource.getrusage(resource.RUSAGE_SELF)
            _set(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime + self._cpu_seconds))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._memory:
            _set(resource.RLIMIT_DATA, _NO_LIMIT)
        if self._cpu_seconds:
            _set(resource.RLIMIT_CPU, _NO_LIMIT)
        if self._memory and isinstance(error, MemoryError):
            size = f"{self._memory / (1 << 20):.4g} MiB"
            exceeded = MemoryExceeded(f"the attempt needed more than the {size} of memory it may have")
            raise exceeded.with_traceback(error.__traceback__) from None


def data_size() -> int:
    """Bytes that this process holds in memory of its own."""
    return int(_STATM.read_bytes().split()[5]) * _PAGE


def _set(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    if hard != _NO_LIMIT:
        value = hard if value == _NO_LIMIT else min(value, hard)
    with contextlib.suppress(OSError, ValueError):  # where the system has no such limit
        resource.setrlimit(limit, (value, hard))
