"""How a worker process ended, and the sentence about it. Pure."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

__all__ = ["Exit", "explain_exit"]

#: Share of its allowance at which a process that died had no memory left.
_NEARLY = 0.85
_BY_MEMORY = frozenset({signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS})


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a process."""

    #: As `os.wait` tells it; None when nobody could tell.
    status: int | None
    #: The most memory it had, in bytes.
    peak: int = 0


def explain_exit(end: Exit, *, memory: int | None, cpu_seconds: float | None) -> tuple[str, str]:
    """Error type and message for the attempt that the process was making; the limits are those of the attempt."""
    if end.status is None:
        return "WorkerLost", "the worker process is gone, and what ended it is not known"
    code = os.waitstatus_to_exitcode(end.status)
    if code >= 0:
        return "WorkerLost", f"the task ended its process by itself (exit code {code})"
    number = -code
    died = f"the worker process died of signal {number} ({_name_of(number)})"
    if number == signal.SIGXCPU and cpu_seconds is not None:
        return "CpuTimeExceeded", (
            f"the attempt used more than the {cpu_seconds:g} s of processor time that process_cpu_seconds allows"
        )
    if number in _BY_MEMORY and memory is not None and end.peak >= _NEARLY * memory:
        return "MemoryExceeded", f"{died} at {_size(end.peak)} of memory; it may have {_size(memory)}"
    if number == signal.SIGKILL:
        return (
            "WorkerLost",
            f"{died}, which nothing here sent; the kernel does when a machine's memory is gone",
        )
    return "WorkerLost", died


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _size(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
