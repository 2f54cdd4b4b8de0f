"""How long to wait before a batch that could not be committed is handed in again."""

from __future__ import annotations

__all__ = ["pause_after"]

#: In seconds; the last one repeats.
_PAUSES = (0.05, 0.2, 1.0, 5.0)


def pause_after(failures: int) -> float:
    """Seconds to wait after the `failures`-th failure in a row, from 1."""
    return _PAUSES[min(failures, len(_PAUSES)) - 1]
